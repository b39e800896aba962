//! Which tunnel each prefix may lead into.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ipnet::IpNet;

/// The tunnels of all prefixes, by number.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<IpNet, u32>);

/// A prefix that may lead into another tunnel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) prefix: IpNet,
    /// The number of that tunnel.
    pub(super) by: u32,
}

impl Owners {
    /// Notes that `prefixes` may lead into a tunnel from now on, too.
    ///
    /// # Errors
    /// The first one that may lead into another tunnel; nothing has changed then.
    pub(super) fn claim(&mut self, tunnel: u32, prefixes: &[IpNet]) -> Result<(), Taken> {
        let others = |prefix: &IpNet| {
            let by = *self.0.get(prefix).filter(|owner| **owner != tunnel)?;
            Some(Taken { prefix: *prefix, by })
        };
        if let Some(taken) = prefixes.iter().find_map(others) {
            return Err(taken);
        }
        self.0.extend(prefixes.iter().map(|prefix| (*prefix, tunnel)));
        Ok(())
    }

    /// Notes that `prefixes` lead into a tunnel no more. Those of other tunnels stay.
    pub(super) fn release<'p>(&mut self, tunnel: u32, prefixes: impl IntoIterator<Item = &'p IpNet>) {
        for prefix in prefixes {
            if let Entry::Occupied(entry) = self.0.entry(*prefix)
                && *entry.get() == tunnel
            {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_leads_into_one_tunnel() {
        let [one, two, three] =
            ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"].map(|text| text.parse().unwrap());
        let mut owners = Owners::default();
        owners.claim(1, &[one, two]).unwrap();
        owners.claim(1, &[two]).unwrap();
        assert_eq!(owners.claim(2, &[three, two]), Err(Taken { prefix: two, by: 1 }));
        owners.claim(3, &[three]).expect("the refused claim reserved nothing");
        owners.release(2, [&two]);
        assert!(owners.claim(2, &[two]).is_err(), "only the owner gives up");
        owners.release(1, [&two]);
        owners.claim(2, &[two]).unwrap();
        assert_eq!(owners.claim(2, &[one]), Err(Taken { prefix: one, by: 1 }));
    }
}
