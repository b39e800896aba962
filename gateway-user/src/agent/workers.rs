//! Threads for the cryptography of IKE.

use std::num::NonZeroUsize;

use ike::{Done, Work};
use tokio::task::JoinSet;

/// Runs pieces of work beside the core's task: as many at once as there are processors, but at least two, so that one
/// slow computation leaves room for others.
#[derive(Debug)]
pub(super) struct Workers {
    running: JoinSet<Done>,
    most: usize,
}

impl Default for Workers {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { running: JoinSet::new(), most: processors.max(2) }
    }
}

impl Workers {
    /// Whether [`Self::begin`] would begin at once. What has to wait, waits where it is sorted by urgency.
    pub(super) fn has_room(&self) -> bool {
        self.running.len() < self.most
    }

    /// Whether nothing is being done.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Begins a piece of work.
    pub(super) fn begin(&mut self, work: Work) {
        self.running.spawn_blocking(|| work.run());
    }

    /// Waits for the next outcome, for ever while nothing is being done. Safe to cancel. A panic of the work goes on here:
    /// the SA that it concerned is lost, and so is all certainty about it.
    pub(super) async fn next(&mut self) -> Done {
        match self.running.join_next().await {
            Some(Ok(done)) => done,
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ike::{Endpoint, EndpointConfig, PeerConfig, PeerId, Psk};
    use rand::SeedableRng;

    use super::*;

    #[tokio::test]
    async fn work_comes_back_and_makes_room() {
        let rng = Box::new(rand::rngs::StdRng::seed_from_u64(1));
        let mut endpoint = Endpoint::new(EndpointConfig::default(), rng);
        let mut workers = Workers::default();
        let peers = u8::try_from(workers.most + 1).unwrap();
        for number in 1..=peers {
            let addresses = ["192.0.2.1".parse().unwrap(), [198, 51, 100, number].into()];
            let config = PeerConfig::new(addresses[0], addresses[1], Psk::new("key"));
            endpoint.set_peer(Instant::now(), PeerId(number.into()), config);
        }
        let (mut begun, mut done) = (0, 0);
        loop {
            while workers.has_room()
                && let Some(work) = endpoint.poll_work()
            {
                workers.begin(work);
                begun += 1;
            }
            assert!(begun - done <= workers.most);
            if workers.is_idle() {
                break;
            }
            endpoint.handle_done(Instant::now(), workers.next().await);
            done += 1;
        }
        assert_eq!(done, usize::from(peers));
        assert!(endpoint.poll_transmit().is_some());
    }
}
