//! UDP source ports that tell inner flows apart, for routers and network cards that spread packets by their ports.

/// Lowest of the ports, the first dynamic one (RFC 6335 section 6).
pub const FIRST: u16 = 49_152;
/// Number of ports, a power of two.
const COUNT: u32 = 16_384;

/// Source port in host order for the packets of one inner flow. Addresses as on the wire; `ports` are the four bytes behind
/// the IPv4 header where the protocol has ports there, else 0.
#[inline(always)]
pub const fn source_port(source: [u8; 4], destination: [u8; 4], protocol: u8, ports: u32) -> u16 {
    let mut hash = u32::from_ne_bytes(source).wrapping_mul(0x9e37_79b1) ^ protocol as u32;
    hash = (hash ^ hash >> 15 ^ u32::from_ne_bytes(destination)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 16 ^ ports).wrapping_mul(0xc2b2_ae35);
    hash = (hash ^ hash >> 15).wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 16;
    FIRST + (hash & (COUNT - 1)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_flows_spread_over_queues() {
        let port = |client: u16| {
            let [a, b] = client.to_be_bytes();
            source_port([10, 1, 0, 1], [10, 2, 0, 1], 6, u32::from_ne_bytes([a, b, 0x01, 0xbb]))
        };
        let mut queues = [0; 8];
        for client in 40_000..40_800 {
            assert!(port(client) >= FIRST);
            queues[usize::from(port(client) % 8)] += 1;
        }
        assert!(queues.iter().all(|count| (60..140).contains(count)), "{queues:?}");
    }

    #[test]
    fn every_part_of_a_flow_counts() {
        let base = source_port([10, 1, 0, 1], [10, 2, 0, 1], 6, 7);
        assert_eq!(base, source_port([10, 1, 0, 1], [10, 2, 0, 1], 6, 7));
        assert_ne!(base, source_port([10, 1, 0, 2], [10, 2, 0, 1], 6, 7));
        assert_ne!(base, source_port([10, 1, 0, 1], [10, 2, 1, 1], 6, 7));
        assert_ne!(base, source_port([10, 1, 0, 1], [10, 2, 0, 1], 17, 7));
        assert_ne!(base, source_port([10, 1, 0, 1], [10, 2, 0, 1], 6, 8));
    }
}
