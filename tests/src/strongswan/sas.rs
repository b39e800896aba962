//! The daemon's SAs.

use super::message::Section;
use anyhow::{Context as _, Result};

/// An IKE SA of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeSa {
    /// Name of its connection.
    pub name: String,
    /// Number of the SA, another one after each rekey.
    pub id: u64,
    /// State, for instance `ESTABLISHED`.
    pub state: String,
    /// SPI of the original initiator and of the original responder, in hexadecimal.
    pub spis: (String, String),
    /// Whether the daemon is the original initiator.
    pub initiator: bool,
    /// Encryption, integrity, pseudo-random function and group, as far as there are any, joined by `/`.
    pub algorithms: String,
    /// Outer port of the peer as the daemon sees it.
    pub remote_port: String,
    /// Its Child SAs.
    pub children: Vec<ChildSa>,
}

/// A Child SA of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSa {
    /// Number of the SA, another one after each rekey.
    pub id: u64,
    /// State, for instance `INSTALLED`.
    pub state: String,
    /// SPI of the SA that receives, eight hexadecimal digits.
    pub inbound_spi: String,
    /// SPI of the SA that sends, eight hexadecimal digits.
    pub outbound_spi: String,
    /// Encryption with its key size and the group, joined by `/`.
    pub algorithms: String,
    /// Traffic selectors of the daemon's side, separated by spaces.
    pub local_selectors: String,
    /// Traffic selectors of the peer's side, separated by spaces.
    pub remote_selectors: String,
    /// Packets received.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
}

impl IkeSa {
    /// Reads what `swanctl --list-sas --raw` printed: one line for each IKE SA.
    pub(super) fn parse_all(text: &str) -> Result<Vec<Self>> {
        let events = text.lines().filter(|line| line.starts_with("list-sa event"));
        let mut found = Vec::new();
        for line in events {
            let message = Section::parse(line)?;
            for (name, section) in message.sections() {
                found.push(Self::from_section(name, section).with_context(|| format!("in {line:?}"))?);
            }
        }
        Ok(found)
    }

    fn from_section(name: &str, section: &Section) -> Result<Self> {
        let children = section.section("child-sas");
        let children: Result<Vec<ChildSa>> = children
            .into_iter()
            .flat_map(Section::sections)
            .map(|(_, child)| ChildSa::from_section(child))
            .collect();
        Ok(Self {
            name: name.to_owned(),
            id: section.value("uniqueid").parse()?,
            state: section.value("state").to_owned(),
            spis: (section.value("initiator-spi").to_owned(), section.value("responder-spi").to_owned()),
            initiator: section.value("initiator") == "yes",
            algorithms: joined(section, &["encr-alg", "encr-keysize", "integ-alg", "prf-alg", "dh-group"]),
            remote_port: section.value("remote-port").to_owned(),
            children: children?,
        })
    }
}

impl ChildSa {
    fn from_section(section: &Section) -> Result<Self> {
        // A Child SA without traffic has no counters.
        let count = |key: &str| match section.value(key) {
            "" => Ok(0),
            text => text.parse::<u64>(),
        };
        Ok(Self {
            id: section.value("uniqueid").parse()?,
            state: section.value("state").to_owned(),
            inbound_spi: section.value("spi-in").to_owned(),
            outbound_spi: section.value("spi-out").to_owned(),
            algorithms: joined(section, &["encr-alg", "encr-keysize", "integ-alg", "dh-group"]),
            local_selectors: section.value("local-ts").to_owned(),
            remote_selectors: section.value("remote-ts").to_owned(),
            packets_in: count("packets-in")?,
            packets_out: count("packets-out")?,
        })
    }
}

fn joined(section: &Section, keys: &[&str]) -> String {
    let values = keys.iter().map(|key| section.value(key)).filter(|value| !value.is_empty());
    values.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read() {
        let text = "list-sa event {site {uniqueid=2 version=2 state=ESTABLISHED initiator=yes initiator-spi=aa \
                    responder-spi=bb encr-alg=AES_GCM_16 encr-keysize=256 prf-alg=PRF_HMAC_SHA2_384 \
                    dh-group=CURVE_25519 remote-port=4500 child-sas {net-1 {name=net uniqueid=1 state=INSTALLED \
                    spi-in=c1 spi-out=c2 encr-alg=AES_GCM_16 encr-keysize=128 packets-in=3 local-ts=[10.2.0.0/16]}}}}\n\
                    list-sas reply {}\n";
        let sas = IkeSa::parse_all(text).unwrap();
        assert_eq!(sas.len(), 1);
        assert_eq!(sas[0].algorithms, "AES_GCM_16/256/PRF_HMAC_SHA2_384/CURVE_25519");
        assert!(sas[0].initiator && sas[0].spis == ("aa".to_owned(), "bb".to_owned()));
        let child = &sas[0].children[0];
        assert_eq!(
            (child.packets_in, child.packets_out, child.algorithms.as_str()),
            (3, 0, "AES_GCM_16/128")
        );
        assert_eq!((child.inbound_spi.as_str(), child.outbound_spi.as_str()), ("c1", "c2"));
        assert_eq!(IkeSa::parse_all("list-sas reply {}\n").unwrap(), []);
    }
}
