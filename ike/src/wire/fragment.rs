//! Fragments of protected messages: the SKF payload (RFC 7383 §2.5).

use zeroize::Zeroizing;

use crate::crypto::SkCipher;
use crate::wire::message::{Header, Message};
use crate::wire::sealed::{Outside, Sealed, largest_content, seal_content};
use crate::wire::{OpenError, ParseError, PayloadType};

/// Octets of Fragment Number and Total Fragments.
const POSITION_LEN: usize = 4;

/// Which fragment of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentPosition {
    /// Fragment Number, from 1 to `total`.
    pub number: u16,
    /// Total Fragments.
    pub total: u16,
}

/// The content of one fragment, decrypted and authentic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Type of the first payload of the whole message; counts in fragment 1 only.
    pub first: PayloadType,
    /// Its part of the payloads' octets.
    pub content: Zeroizing<Vec<u8>>,
}

impl Message {
    /// The octets of the message: sealed as a whole where that gives at most `largest` octets, else in fragments of at
    /// most so many. Each call of `next_number` must give another number, none of which may ever repeat for this key.
    pub fn seal_within(
        &self,
        cipher: &SkCipher,
        mut next_number: impl FnMut() -> u64,
        largest: usize,
    ) -> Vec<Vec<u8>> {
        let content = self.content();
        let algorithms = cipher.algorithms();
        if largest_content(algorithms, 0, largest).is_some_and(|room| content.len() <= room) {
            return vec![self.seal(cipher, next_number())];
        }
        let room = largest_content(algorithms, POSITION_LEN, largest).unwrap_or_default().max(1);
        let parts = content.chunks(room);
        let total = u16::try_from(parts.len()).expect("messages built here have fewer fragments");
        let fragment = |(part, number): (&[u8], u16)| {
            let first = if number == 1 { self.first() } else { PayloadType::NONE };
            let [n, t] = [number, total].map(u16::to_be_bytes);
            let fields = [n[0], n[1], t[0], t[1]];
            let outside = Outside { header: &self.header, kind: PayloadType::SKF, first, fields: &fields };
            seal_content(cipher, next_number(), &outside, part)
        };
        parts.zip(1..).map(fragment).collect()
    }
}

/// A message that consists of an SKF payload, not yet opened.
#[derive(Clone, Copy, Debug)]
pub struct SealedFragment<'a> {
    /// The header, not authenticated before [`Self::open`] has succeeded.
    pub header: Header,
    /// The place in the whole message, likewise.
    pub position: FragmentPosition,
    sealed: Sealed<'a>,
}

impl<'a> SealedFragment<'a> {
    /// Parses the outside of a message. One whose only payload is not SKF gives [`ParseError::Protection`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (header, sealed) = Sealed::parse(datagram, PayloadType::SKF, POSITION_LEN)?;
        let &[n0, n1, t0, t1] = sealed.fields else { return Err(ParseError::Truncated) };
        let position =
            FragmentPosition { number: u16::from_be_bytes([n0, n1]), total: u16::from_be_bytes([t0, t1]) };
        if position.number == 0 || position.number > position.total {
            return Err(ParseError::Invalid("fragment number"));
        }
        Ok(Self { header, position, sealed })
    }

    /// Checks integrity and decrypts.
    pub fn open(&self, cipher: &SkCipher) -> Result<Fragment, OpenError> {
        Ok(Fragment { first: self.sealed.first, content: self.sealed.open(cipher)? })
    }
}
