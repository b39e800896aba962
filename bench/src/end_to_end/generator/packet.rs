//! Packets of the load: their sizes and the head of their payload.

use std::fmt;
use std::str::FromStr;

/// Lengths of an IP header and of a UDP header, in bytes.
const HEADERS: usize = 20 + 8;
/// Three sizes in the proportion 7:4:1.
const IMIX: [usize; 12] = [64, 64, 64, 64, 570, 570, 64, 64, 64, 570, 570, 1400];
/// Smallest packet: both headers and a [`Header`].
const SMALLEST: usize = HEADERS + Header::LEN;
/// Largest packet that fits through every tunnel over links of 1500 bytes.
const LARGEST: usize = 1400;

/// Sizes of the packets of a load, as lengths of whole inner IP packets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketSize {
    /// All alike.
    Fixed(usize),
    /// 64, 570 and 1400 bytes in the proportion 7:4:1.
    Imix,
}

impl PacketSize {
    /// Length of the IP packet number `index`, in bytes.
    pub(crate) fn ip_length(self, index: u64) -> usize {
        match self {
            Self::Fixed(length) => length,
            Self::Imix => IMIX[(index % IMIX.len() as u64) as usize],
        }
    }

    /// Lengths of the IP packets in the order in which they repeat, in bytes.
    pub(super) fn pattern(self) -> Vec<usize> {
        match self {
            Self::Fixed(length) => vec![length],
            Self::Imix => IMIX.to_vec(),
        }
    }

    /// Length of the UDP payload of packet number `index`, in bytes.
    pub(super) fn payload_length(self, index: u64) -> usize {
        self.ip_length(index) - HEADERS
    }

    /// Mean length of the IP packets, in bytes.
    pub(crate) fn mean(self) -> f64 {
        match self {
            Self::Fixed(length) => length as f64,
            Self::Imix => IMIX.iter().sum::<usize>() as f64 / IMIX.len() as f64,
        }
    }
}

impl fmt::Display for PacketSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(formatter, "{length}"),
            Self::Imix => formatter.write_str("imix"),
        }
    }
}

impl FromStr for PacketSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("imix") {
            return Ok(Self::Imix);
        }
        match text.parse() {
            Ok(length) if (SMALLEST..=LARGEST).contains(&length) => Ok(Self::Fixed(length)),
            _ => Err(format!("neither `imix` nor a length of an IP packet from {SMALLEST} to {LARGEST}")),
        }
    }
}

/// The head of each payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Which load it belongs to, so that a late packet of an earlier one does not count.
    pub(super) load: u32,
    /// Which flow of the load.
    pub(super) flow: u32,
    /// Place in the flow, from 0.
    pub(super) sequence: u64,
}

impl Header {
    /// Length in bytes.
    pub(super) const LEN: usize = 16;

    /// Writes the header to the start of a payload.
    pub(super) fn write(self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.load.to_le_bytes());
        payload[4..8].copy_from_slice(&self.flow.to_le_bytes());
        payload[8..16].copy_from_slice(&self.sequence.to_le_bytes());
    }

    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(payload: &[u8; Self::LEN]) -> Self {
        let word =
            |at: usize| u32::from_le_bytes([payload[at], payload[at + 1], payload[at + 2], payload[at + 3]]);
        Self { load: word(0), flow: word(4), sequence: u64::from(word(8)) | u64::from(word(12)) << 32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imix_has_its_proportions() {
        let count = |length| (0..24).filter(|&index| PacketSize::Imix.ip_length(index) == length).count();
        assert_eq!([count(64), count(570), count(1400)], [14, 8, 2]);
        assert!((PacketSize::Imix.mean() - (7.0 * 64.0 + 4.0 * 570.0 + 1400.0) / 12.0).abs() < 1e-9);
    }

    #[test]
    fn sizes_are_read_from_text() {
        assert_eq!("64".parse(), Ok(PacketSize::Fixed(64)));
        assert_eq!("IMIX".parse(), Ok(PacketSize::Imix));
        for wrong in ["", "43", "1401", "-64", "jumbo"] {
            assert!(wrong.parse::<PacketSize>().is_err(), "{wrong}");
        }
        for size in [PacketSize::Fixed(512), PacketSize::Imix] {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
    }

    #[test]
    fn a_header_is_read_back() {
        let header = Header { load: 3, flow: 0x1_0002, sequence: 0x1234_5678_9abc_def0 };
        let mut payload = [0; Header::LEN];
        header.write(&mut payload);
        assert_eq!(Header::read(&payload), header);
    }
}
