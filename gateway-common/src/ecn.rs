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
}
