//! The first message of IKE, by hand.

/// An `IKE_SA_INIT` request with this SPI, not zero, that offers AES-256-GCM, HMAC-SHA2-384 and X25519 (RFC 7296 sections 3.1 to 3.4 and 3.9).
pub fn ike_init_request(spi: u64) -> Vec<u8> {
    const TRANSFORMS: [&[u8]; 3] =
        [&[3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0], &[3, 0, 0, 8, 2, 0, 0, 6], &[0, 0, 0, 8, 4, 0, 0, 31]];
    let transforms = TRANSFORMS.concat();
    let proposal = [&[0, 0, 0, 8 + transforms.len() as u8, 1, 1, 0, 3], &transforms[..]].concat();
    let key_exchange = [&[0, 31, 0, 0], &[9; 32][..]].concat();
    let body = [payload(34, &proposal), payload(40, &key_exchange), payload(0, &[7; 32])].concat();
    let length = (28 + body.len()) as u32;
    let spi = spi.to_be_bytes();
    let header = [&spi[..], &[0; 8], &[33, 0x20, 34, 8], &[0; 4], &length.to_be_bytes()].concat();
    [header, body].concat()
}

fn payload(next: u8, content: &[u8]) -> Vec<u8> {
    let length = (4 + content.len()) as u16;
    [&[next, 0], &length.to_be_bytes()[..], content].concat()
}
