//! The keys of an IKE SA at work.

use crate::crypto::{CryptoError, IkeKeys, KeyExchange, SkCipher};
use crate::proposal_choice::IkeSuite;
use crate::wire::Message;

/// Algorithms, keys and the two ciphers of an IKE SA.
pub(crate) struct Protection {
    pub(crate) suite: IkeSuite,
    pub(crate) keys: IkeKeys,
    pub(crate) open: SkCipher,
    seal: SkCipher,
    /// Messages sealed so far; makes the IV of the next one, so that none repeats (RFC 5282 §3.1).
    sealed: u64,
}

impl Protection {
    /// The keys of this key exchange. `initiator`: we are the original initiator.
    pub(crate) fn new(
        suite: IkeSuite,
        initiator: bool,
        exchange: &KeyExchange<'_>,
    ) -> Result<Self, CryptoError> {
        Self::of_keys(suite, initiator, IkeKeys::derive(suite.prf, suite.algorithms, exchange))
    }

    /// The keys of the IKE SA that replaces that of `old` (RFC 7296 §2.18). `initiator`: we asked for it.
    pub(crate) fn rekeyed(
        old: &Self,
        suite: IkeSuite,
        initiator: bool,
        exchange: &KeyExchange<'_>,
    ) -> Result<Self, CryptoError> {
        let keys =
            IkeKeys::derive_rekeyed(old.suite.prf, &old.keys.sk_d, suite.prf, suite.algorithms, exchange);
        Self::of_keys(suite, initiator, keys)
    }

    fn of_keys(suite: IkeSuite, initiator: bool, keys: IkeKeys) -> Result<Self, CryptoError> {
        let from_initiator = keys.initiator_cipher(suite.algorithms)?;
        let from_responder = keys.responder_cipher(suite.algorithms)?;
        let (seal, open) =
            if initiator { (from_initiator, from_responder) } else { (from_responder, from_initiator) };
        Ok(Self { suite, keys, open, seal, sealed: 0 })
    }

    /// The octets of a message: one datagram, or fragments when it would be longer than `largest`.
    pub(crate) fn seal(&mut self, message: &Message, largest: usize) -> Vec<Vec<u8>> {
        let next_number = || {
            let number = self.sealed;
            self.sealed += 1;
            number
        };
        message.seal_within(&self.seal, next_number, largest)
    }
}
