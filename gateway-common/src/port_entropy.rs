//! UDP source ports that tell inner flows apart, for routers and network cards that spread packets by their ports.

/// Lowest of the ports, the first dynamic one (RFC 6335 section 6).
pub const FIRST: u16 = 49_152;
/// Number of ports, a power of two.
const COUNT: u32 = 16_384;

/// Number of the flow of an inner packet, equal for all packets of the flow. `source` and `destination` are the addresses, or
/// what [`word`] makes of longer ones; `ports` are the four bytes behind the IP header where the protocol has ports there, else 0.
#[inline(always)]
pub const fn hash(source: u32, destination: u32, protocol: u8, ports: u32) -> u32 {
    let mut hash = source.wrapping_mul(0x9e37_79b1) ^ protocol as u32;
    hash = (hash ^ hash >> 15 ^ destination).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 16 ^ ports).wrapping_mul(0xc2b2_ae35);
    hash = (hash ^ hash >> 15).wrapping_mul(0x85eb_ca6b);
    hash ^ hash >> 16
}

/// Source port in host order for the packets of the flow with number `hash`.
#[inline(always)]
pub const fn source_port(hash: u32) -> u16 {
    FIRST + (hash & (COUNT - 1)) as u16
}

/// One word of the four of an IPv6 address, each of whose bits counts.
#[inline(always)]
pub const fn word(address: [u32; 4]) -> u32 {
    let mut hash = address[0].wrapping_mul(0x9e37_79b1) ^ address[1];
    hash = (hash ^ hash >> 15).wrapping_mul(0x85eb_ca6b) ^ address[2];
    (hash ^ hash >> 16).wrapping_mul(0xc2b2_ae35) ^ address[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_flows_spread_over_queues() {
        let port = |client: u16| {
            let [a, b] = client.to_be_bytes();
            source_port(hash(0x0a01_0001, 0x0a02_0001, 6, u32::from_ne_bytes([a, b, 0x01, 0xbb])))
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
        let port =
            |source, destination, protocol, ports| source_port(hash(source, destination, protocol, ports));
        let base = port(0x0a01_0001, 0x0a02_0001, 6, 7);
        assert_eq!(base, port(0x0a01_0001, 0x0a02_0001, 6, 7));
        assert_ne!(base, port(0x0a01_0002, 0x0a02_0001, 6, 7));
        assert_ne!(base, port(0x0a01_0001, 0x0a02_0101, 6, 7));
        assert_ne!(base, port(0x0a01_0001, 0x0a02_0001, 17, 7));
        assert_ne!(base, port(0x0a01_0001, 0x0a02_0001, 6, 8));
    }

    #[test]
    fn every_word_of_a_long_address_counts() {
        let base = [0x2001_0db8, 1, 2, 3];
        for position in 0..4 {
            let mut other = base;
            other[position] ^= 1;
            assert_ne!(word(base), word(other));
        }
    }
}
