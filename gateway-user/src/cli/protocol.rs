//! Protocols by name or number.

use std::str::FromStr;

/// A protocol number of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protocol(pub(super) u8);

/// The names that people use, in the IANA registry of protocol numbers.
const NAMES: [(&str, u8); 10] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("icmp6", 58),
    ("ospf", 89),
    ("sctp", 132),
];

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        let number = named.map(|(_, number)| *number).or_else(|| text.parse().ok());
        number.map(Self).ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("expected a number from 0 to 255 or one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood() {
        for (text, number) in [("tcp", 6), ("UDP", 17), ("icmp", 1), ("0", 0), ("253", 253)] {
            assert_eq!(text.parse(), Ok(Protocol(number)), "{text}");
        }
        for wrong in ["", "256", "-1", "tcpp"] {
            assert!(wrong.parse::<Protocol>().unwrap_err().contains("icmp, igmp"), "{wrong}");
        }
    }
}
