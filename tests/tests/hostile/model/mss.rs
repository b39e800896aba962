//! What becomes of the maximum segment size that a TCP segment announces.

use super::header::{Header, PLAIN, word};

const TCP: u8 = 6;
/// TCP header without options, and where in it the length, the flags and the checksum stand (RFC 9293 section 3.1).
const TCP_HEADER: usize = 20;
const LENGTH: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
const SYN: u8 = 2;

/// Lowers the announcements in `packet` to what fits into a tunnel of `mtu` bytes.
pub(super) fn clamp(packet: &mut [u8], header: &Header, mtu: usize) {
    let Some(segment) = packet.get_mut(header.length..header.total_len) else { return };
    if header.protocol != TCP || header.is_fragment || segment.len() < TCP_HEADER || segment[FLAGS] & SYN == 0
    {
        return;
    }
    let end = usize::from(segment[LENGTH] >> 4) * 4;
    if end > segment.len() {
        return;
    }
    let most = (mtu - PLAIN - TCP_HEADER) as u16;
    let mut at = TCP_HEADER;
    // Each option but two has a length behind its kind, which counts both (RFC 9293 section 3.2).
    while at < end {
        let len = match (segment[at], segment.get(at + 1).filter(|_| at + 1 < end)) {
            (0, _) | (_, None) => return,
            (1, _) => 1,
            (_, Some(len)) => usize::from(*len),
        };
        if len == 0 || (len == 1 && segment[at] != 1) || at + len > end {
            return;
        }
        if segment[at] == 2 && len == 4 && word(segment, at + 2) > most {
            replace(segment, at + 2, most);
        }
        at += len;
    }
}

/// Sets the two bytes at `at` and mends the checksum, byte by byte (RFC 1624 equation 3).
fn replace(segment: &mut [u8], at: usize, new: u16) {
    for (at, byte) in (at..).zip(new.to_be_bytes()) {
        let weight = if at % 2 == 0 { 0x100 } else { 1 };
        let (old, new) = (u32::from(segment[at]) * weight, u32::from(byte) * weight);
        let mut sum = u32::from(!word(segment, CHECKSUM)) + (0xffff - old) + new;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        segment[at] = byte;
        segment[CHECKSUM..CHECKSUM + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
}
