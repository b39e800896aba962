//! Packet sizes of every micro-benchmark.

use std::fmt;

use gateway_common::wire::ESP_TRAILER_LEN;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Length of an inner IP packet, or the usual mixture of lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// So many bytes.
    Bytes(usize),
    /// Seven packets of 64 bytes to four of 570 and one of 1400.
    Imix,
}

impl Size {
    /// What is reported.
    pub(crate) const ALL: [Self; 4] = [Self::Bytes(64), Self::Bytes(512), Self::Bytes(1400), Self::Imix];
    /// Lengths that must be measured, so that every size is known.
    pub(super) const MEASURED: [usize; 4] = [64, 512, 570, 1400];
    /// How often each length occurs in the mixture.
    const IMIX: [(usize, f64); 3] = [(64, 7.0), (570, 4.0), (1400, 1.0)];

    /// Mean length in bytes.
    pub(crate) fn mean_bytes(self) -> f64 {
        self.mean(|bytes| bytes as f64)
    }

    /// Mean over the packets of this size of something that depends on the length.
    pub(super) fn mean(self, cost: impl Fn(usize) -> f64) -> f64 {
        match self {
            Self::Bytes(bytes) => cost(bytes),
            Self::Imix => {
                let packets: f64 = Self::IMIX.iter().map(|(_, count)| count).sum();
                Self::IMIX.iter().map(|(bytes, count)| cost(*bytes) * count).sum::<f64>() / packets
            }
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => formatter.pad(&bytes.to_string()),
            Self::Imix => formatter.pad("IMIX"),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Self::ALL.into_iter().find(|size| size.to_string() == text);
        known.ok_or_else(|| serde::de::Error::custom(format!("no size {text:?}")))
    }
}

/// Bytes that ESP encrypts of an inner packet of `bytes` bytes: with padding to a multiple of four and the trailer (RFC
/// 4303 section 2.4).
pub(super) const fn esp_payload(bytes: usize) -> usize {
    (bytes + ESP_TRAILER_LEN).next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixture_is_the_mean_of_its_packets() {
        assert!((Size::Imix.mean_bytes() - 4128.0 / 12.0).abs() < 1e-9);
        assert!((Size::Bytes(512).mean_bytes() - 512.0).abs() < 1e-9);
        assert!((Size::Imix.mean(|_| 5.0) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn every_length_of_the_mixture_is_measured() {
        assert!(Size::IMIX.iter().all(|(bytes, _)| Size::MEASURED.contains(bytes)));
        assert!(Size::ALL.iter().all(|size| match size {
            Size::Bytes(bytes) => Size::MEASURED.contains(bytes),
            Size::Imix => true,
        }));
    }

    #[test]
    fn payloads_are_padded_to_words() {
        assert_eq!([62, 63, 64, 65, 66].map(esp_payload), [64, 68, 68, 68, 68]);
    }
}
