//! The AES S-box, for the datapath's look-up tables and for the key expansion beside them.

/// Substitution of bytes (FIPS 197 section 5.1.1).
pub const S_BOX: [u8; 256] = s_box();

/// Multiplication by x in GF(2^8) (FIPS 197 section 4.2.1).
pub const fn times_x(byte: u8) -> u8 {
    byte << 1 ^ if byte & 0x80 == 0 { 0 } else { 0x1b }
}

/// Walks through all nonzero elements as powers of the generator 3 beside their inverses, powers of 1/3 = 0xf6.
const fn s_box() -> [u8; 256] {
    let mut table = [0; 256];
    let mut element: u8 = 1;
    let mut inverse: u8 = 1;
    loop {
        element ^= times_x(element);
        inverse ^= inverse << 1;
        inverse ^= inverse << 2;
        inverse ^= inverse << 4;
        inverse ^= if inverse & 0x80 == 0 { 0 } else { 0x09 };
        table[element as usize] = affine(inverse);
        if element == 1 {
            break;
        }
    }
    // Zero has no inverse and stands for itself.
    table[0] = affine(0);
    table
}

const fn affine(byte: u8) -> u8 {
    byte ^ byte.rotate_left(1) ^ byte.rotate_left(2) ^ byte.rotate_left(3) ^ byte.rotate_left(4) ^ 0x63
}
