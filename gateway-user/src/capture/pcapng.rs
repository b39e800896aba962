//! The blocks of a pcapng file that a capture needs (draft-ietf-opsawg-pcapng), little-endian.

use super::packet::{Direction, Packet, Side};

/// Type of an Interface Statistics Block.
pub const STATISTICS: u32 = 5;
/// Type of an Enhanced Packet Block.
pub const PACKET: u32 = 6;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Link type of Ethernet (LINKTYPE_ETHERNET).
const ETHERNET: u16 = 1;
/// Timestamps are in units of 10^-9 s.
const NANOSECONDS: u8 = 9;
/// Fields of a block around its body: type, length, and the length again.
const AROUND: usize = 12;

/// Codes of options.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SECTION_APPLICATION: u16 = 4;
    pub(super) const INTERFACE_NAME: u16 = 2;
    pub(super) const INTERFACE_DESCRIPTION: u16 = 3;
    pub(super) const INTERFACE_RESOLUTION: u16 = 9;
    pub(super) const PACKET_FLAGS: u16 = 2;
    pub(super) const STATISTICS_START: u16 = 2;
    pub(super) const STATISTICS_END: u16 = 3;
    pub(super) const STATISTICS_RECEIVED: u16 = 4;
    pub(super) const STATISTICS_DROPPED: u16 = 5;
}

/// What was seen at an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Start of the capture in ns since 1970-01-01 00:00 UTC.
    pub start_ns: u64,
    /// Time of these numbers, likewise.
    pub now_ns: u64,
    /// Packets that came, lost ones not included.
    pub received: u64,
    /// Packets that were lost for want of room.
    pub lost: u64,
}

/// A file's beginning: the section, and an interface for each side of the gateway of `vnet`. Packets are cut off at `snap_len`
/// bytes.
pub fn beginning(vnet: &str, snap_len: u32) -> Vec<u8> {
    let application = concat!("vgw ", env!("CARGO_PKG_VERSION"));
    let mut body = BYTE_ORDER.to_le_bytes().to_vec();
    body.extend([1, 0, 0, 0]);
    // The section's length is not known.
    body.extend(u64::MAX.to_le_bytes());
    put_option(&mut body, option::SECTION_APPLICATION, application.as_bytes());
    put_option(&mut body, option::END, &[]);
    let mut file = block(SECTION, &body);
    for (name, what) in [
        ("inner", "packets of the VNets, before they are sealed and after they are opened"),
        ("outer", "sealed packets between the gateways"),
    ] {
        let description = format!("gateway of {vnet}: {what}");
        let mut body = [ETHERNET.to_le_bytes(), [0; 2]].concat();
        body.extend(snap_len.to_le_bytes());
        put_option(&mut body, option::INTERFACE_NAME, name.as_bytes());
        put_option(&mut body, option::INTERFACE_DESCRIPTION, description.as_bytes());
        put_option(&mut body, option::INTERFACE_RESOLUTION, &[NANOSECONDS]);
        put_option(&mut body, option::END, &[]);
        file.extend(block(INTERFACE, &body));
    }
    file
}

/// A packet with its direction, and its comment if it has one. Frames longer than `snap_len` are cut off.
pub fn packet(packet: &Packet, snap_len: u32) -> Vec<u8> {
    let frame = &packet.frame[..packet.frame.len().min(snap_len as usize)];
    let mut body = interface(packet.side).to_le_bytes().to_vec();
    put_time(&mut body, packet.time_ns);
    body.extend((frame.len() as u32).to_le_bytes());
    body.extend(packet.len.max(frame.len() as u32).to_le_bytes());
    put_padded(&mut body, frame);
    let flags: u32 = match packet.direction {
        Direction::Inbound => 1,
        Direction::Outbound => 2,
    };
    put_option(&mut body, option::PACKET_FLAGS, &flags.to_le_bytes());
    if let Some(comment) = &packet.comment {
        put_option(&mut body, option::COMMENT, comment.as_bytes());
    }
    put_option(&mut body, option::END, &[]);
    block(PACKET, &body)
}

/// What was seen at a side.
pub fn statistics(side: Side, numbers: &Statistics) -> Vec<u8> {
    let mut body = interface(side).to_le_bytes().to_vec();
    put_time(&mut body, numbers.now_ns);
    for (code, time_ns) in
        [(option::STATISTICS_START, numbers.start_ns), (option::STATISTICS_END, numbers.now_ns)]
    {
        let mut time = Vec::new();
        put_time(&mut time, time_ns);
        put_option(&mut body, code, &time);
    }
    put_option(&mut body, option::STATISTICS_RECEIVED, &numbers.received.to_le_bytes());
    put_option(&mut body, option::STATISTICS_DROPPED, &numbers.lost.to_le_bytes());
    put_option(&mut body, option::END, &[]);
    block(STATISTICS, &body)
}

/// Type and length in bytes of the block that `bytes` begin with; `None` while that is not there.
pub fn block_header(bytes: &[u8]) -> Option<(u32, usize)> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    Some((word(0)?, word(4)? as usize))
}

/// Interface and packets lost in a block that [`statistics`] made; `None` for any other.
pub fn lost(block: &[u8]) -> Option<(u32, u64)> {
    const VALUES: usize = 8 + 12 + 2 * 12 + 12;
    let (kind, _) = block_header(block)?;
    let interface = u32::from_le_bytes(*block.get(8..)?.first_chunk()?);
    let lost = u64::from_le_bytes(*block.get(VALUES + 4..)?.first_chunk()?);
    (kind == STATISTICS).then_some((interface, lost))
}

/// Number of a side's interface, in the order of [`beginning`].
const fn interface(side: Side) -> u32 {
    match side {
        Side::Inner => 0,
        Side::Outer => 1,
    }
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = ((body.len() + AROUND) as u32).to_le_bytes();
    [&kind.to_le_bytes()[..], &len, body, &len].concat()
}

/// The upper half first, each half little-endian.
fn put_time(body: &mut Vec<u8>, time_ns: u64) {
    body.extend(((time_ns >> 32) as u32).to_le_bytes());
    body.extend((time_ns as u32).to_le_bytes());
}

fn put_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    put_padded(body, value);
}

fn put_padded(body: &mut Vec<u8>, value: &[u8]) {
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_say_their_length_twice_and_end_at_a_multiple_of_four() {
        for frame_len in 0..9 {
            let packet = packet(
                &Packet {
                    time_ns: 0x1_0000_0002,
                    side: Side::Outer,
                    direction: Direction::Inbound,
                    frame: vec![7; frame_len],
                    len: 100,
                    comment: Some("why".to_owned()),
                },
                6,
            );
            let len = u32::try_from(packet.len()).unwrap().to_le_bytes();
            assert_eq!(block_header(&packet), Some((PACKET, packet.len())));
            assert_eq!((&packet[packet.len() - 4..], packet.len() % 4), (&len[..], 0));
            assert_eq!(packet[8..20], [1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0], "interface and time");
            assert_eq!(packet[20..28], [frame_len.min(6) as u8, 0, 0, 0, 100, 0, 0, 0]);
        }
    }

    #[test]
    fn the_loss_is_found_again() {
        let numbers = Statistics { start_ns: 1, now_ns: 2, received: 3, lost: 0x0102_0304_0506 };
        let block = statistics(Side::Outer, &numbers);
        assert_eq!(lost(&block), Some((1, 0x0102_0304_0506)));
        assert_eq!(lost(&block[..20]), None);
        assert_eq!(lost(&beginning("VNet1", 100)), None);
        assert_eq!(block_header(&block[..7]), None);
    }
}
