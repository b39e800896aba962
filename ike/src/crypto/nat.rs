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
