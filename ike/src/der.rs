//! Writing DER (X.690 §10).

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const TELETEX_STRING: u8 = 0x14;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const BMP_STRING: u8 = 0x1e;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// An element: tag, length, and the parts of its content. Content has fewer than 64 KiB.
pub(crate) fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let len: usize = content.iter().map(|part| part.len()).sum();
    // Full capacity up front: a growing vector would leave copies of a private key behind.
    let mut out = Vec::with_capacity(len + 4);
    out.push(tag);
    match u16::try_from(len).expect("content has fewer than 64 KiB").to_be_bytes() {
        [0, short] if short < 0x80 => out.push(short),
        [0, short] => out.extend([0x81, short]),
        [high, low] => out.extend([0x82, high, low]),
    }
    for part in content {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        let head = |len: usize| element(OCTET_STRING, &[&vec![7; len]])[..4].to_vec();
        assert_eq!(element(OCTET_STRING, &[b"a", b"b"]), [4, 2, b'a', b'b']);
        assert_eq!(head(0x7f), [4, 0x7f, 7, 7]);
        assert_eq!(head(0x80), [4, 0x81, 0x80, 7]);
        assert_eq!(head(0x1234), [4, 0x82, 0x12, 0x34]);
    }
}
