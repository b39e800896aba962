//! Explicit congestion notification across the tunnel (RFC 6040).

/// ECN field: not ECN-capable.
pub const NOT_ECT: u8 = 0;
/// ECN field: ECN-capable, codepoint 1.
pub const ECT_1: u8 = 1;
/// ECN field: ECN-capable, codepoint 0.
pub const ECT_0: u8 = 2;
/// ECN field: congestion experienced.
pub const CE: u8 = 3;

/// ECN field of the forwarded packet, from those of the inner and outer headers on arrival; `None` to drop
/// (RFC 6040 section 4.2, figure 4).
#[inline(always)]
pub const fn decapsulate(inner: u8, outer: u8) -> Option<u8> {
    match (inner & 3, outer & 3) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) | (CE, _) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

/// Whether a combination of fields on arrival is one that no honest path brings about today and that may do harm: those with three
/// exclamation marks in figure 4 of RFC 6040, which section 4.2 asks to be logged.
#[inline(always)]
pub const fn is_alarming(inner: u8, outer: u8) -> bool {
    match inner & 3 {
        NOT_ECT => outer & 3 != NOT_ECT,
        CE => outer & 3 == ECT_1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_figure_4() {
        let outer = [NOT_ECT, ECT_0, ECT_1, CE];
        let rows = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, cells) in rows {
            for (outer, expected) in outer.into_iter().zip(cells) {
                assert_eq!(decapsulate(inner, outer), expected, "inner {inner}, outer {outer}");
            }
        }
    }

    #[test]
    fn four_cells_of_figure_4_are_alarming() {
        let alarming = [(NOT_ECT, ECT_0), (NOT_ECT, ECT_1), (NOT_ECT, CE), (CE, ECT_1)];
        for cell in 0..16 {
            let cell = (cell / 4, cell % 4);
            // Whatever the DSCP is.
            assert_eq!(is_alarming(0xb8 | cell.0, 0x48 | cell.1), alarming.contains(&cell), "{cell:?}");
        }
    }
}
