//! NAT detection (RFC 7296 §2.23).

use std::net::{IpAddr, SocketAddr};

use sha1::{Digest, Sha1};

/// The data of a NAT_DETECTION_SOURCE_IP or NAT_DETECTION_DESTINATION_IP notification:
/// SHA-1(SPIi | SPIr | address | port), 20 octets (RFC 7296 §2.23).
///
/// `spi_i` and `spi_r` are as in the header of the message that carries the notification: `spi_r` is zero in the
/// first IKE_SA_INIT request. SHA-1 is what the protocol prescribes; nothing secret depends on it.
pub fn nat_detection_hash(spi_i: u64, spi_r: u64, address: SocketAddr) -> [u8; 20] {
    let mut hash = Sha1::new();
    hash.update(spi_i.to_be_bytes());
    hash.update(spi_r.to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => hash.update(ip.octets()),
        IpAddr::V6(ip) => hash.update(ip.octets()),
    }
    hash.update(address.port().to_be_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_spis_address_and_port_in_network_order() {
        let (spi_i, spi_r) = (0x0102_0304_0506_0708, 0x1112_1314_1516_1718);
        let spis = hex::decode("01020304050607081112131415161718").unwrap();
        let cases = [
            ("192.0.2.1:500", "c000020101f4"),
            ("[2001:db8::1]:4500", "20010db80000000000000000000000011194"),
        ];
        for (address, octets) in cases {
            let expected = Sha1::digest([spis.as_slice(), &hex::decode(octets).unwrap()].concat());
            assert_eq!(nat_detection_hash(spi_i, spi_r, address.parse().unwrap())[..], expected[..]);
        }
    }
}
