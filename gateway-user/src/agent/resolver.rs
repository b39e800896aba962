//! Threads that look up the names of peers.
//!
//! The system's own resolver is asked, so that the hosts file, the search list and a caching resolver count as they do for every
//! other program. It does not tell how long an answer is good for; the core asks again regularly.

use std::net::{IpAddr, ToSocketAddrs};
use std::thread;

use tokio::sync::mpsc;

use crate::model::HostName;

/// Most look-ups at once.
const MOST: usize = 8;

/// A name to look up for a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) site: String,
    pub(super) name: HostName,
}

/// What came out of a look-up.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) question: Question,
    /// The addresses in the resolver's order of preference, or why there are none.
    pub(super) outcome: Result<Vec<IpAddr>, String>,
}

/// Looks up names beside the core's task.
#[derive(Debug)]
pub(super) struct Resolver {
    running: usize,
    sender: mpsc::UnboundedSender<Answer>,
    answers: mpsc::UnboundedReceiver<Answer>,
}

impl Default for Resolver {
    fn default() -> Self {
        let (sender, answers) = mpsc::unbounded_channel();
        Self { running: 0, sender, answers }
    }
}

impl Resolver {
    /// Whether [`Self::begin`] would begin at once.
    pub(super) fn has_room(&self) -> bool {
        self.running < MOST
    }

    /// Begins a look-up.
    pub(super) fn begin(&mut self, question: Question) {
        let sender = self.sender.clone();
        self.running += 1;
        // No thread of the runtime, whose end would wait for a name server that does not answer.
        thread::spawn(move || {
            let outcome = look_up(&question.name);
            // Nobody wants it any more when the agent ends.
            let _ = sender.send(Answer { question, outcome });
        });
    }

    /// Waits for the next answer, for ever while nothing is being looked up. Safe to cancel.
    pub(super) async fn next(&mut self) -> Answer {
        match self.answers.recv().await {
            Some(answer) => {
                self.running -= 1;
                answer
            }
            // There is a sender as long as there is a receiver.
            None => std::future::pending().await,
        }
    }
}

fn look_up(name: &HostName) -> Result<Vec<IpAddr>, String> {
    match (name.as_str(), 0).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.map(|address| address.ip()).collect()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str) -> Question {
        Question { site: "VNet2".to_owned(), name: HostName::new(name).unwrap() }
    }

    #[tokio::test]
    async fn the_hosts_file_is_asked_and_a_name_that_nobody_has_is_an_error() {
        let mut resolver = Resolver::default();
        resolver.begin(question("localhost"));
        let answer = resolver.next().await;
        assert!(answer.outcome.unwrap().iter().all(IpAddr::is_loopback));
        // Reserved for names that do not exist (RFC 6761 section 6.4).
        resolver.begin(question("gw1.invalid"));
        let answer = resolver.next().await;
        assert_eq!(answer.question, question("gw1.invalid"));
        assert!(!answer.outcome.unwrap_err().is_empty());
    }

    #[tokio::test]
    async fn look_ups_are_counted() {
        let mut resolver = Resolver::default();
        for _ in 0..MOST {
            assert!(resolver.has_room());
            resolver.begin(question("localhost"));
        }
        assert!(!resolver.has_room());
        resolver.next().await.outcome.unwrap();
        assert!(resolver.has_room());
    }
}
