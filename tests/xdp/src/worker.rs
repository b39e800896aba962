//! What an AF_XDP worker does with a frame, without sockets: the AEAD with `ring`, and the headers of frames sent back.

use gateway_common::{ETHERTYPE_RETURN, Handoff, Job, Pod, ReturnHeader, ReturnKind};
use gateway_user::datapath::SaConfig;
use ring::aead::{Aad, Nonce};

use crate::{LANE, VGW0_MAC, esp};

/// A frame that was handed to a worker.
#[derive(Clone, Debug)]
pub struct Handed {
    /// The hand-off header.
    pub handoff: Handoff,
    /// The frame behind it.
    pub frame: Vec<u8>,
}

impl Handed {
    /// Takes a frame apart.
    pub fn parse(bytes: &[u8]) -> Self {
        assert!(bytes.len() > Handoff::LEN, "a frame of {} bytes has no hand-off header", bytes.len());
        // SAFETY: the length was checked, every bit pattern is a `Handoff`, and the read does not assume alignment.
        let handoff = unsafe { bytes.as_ptr().cast::<Handoff>().read_unaligned() };
        Self { handoff, frame: bytes[Handoff::LEN..].to_vec() }
    }

    /// Seals the payload: the frame as it is to be sent.
    pub fn seal(mut self, sa: &SaConfig) -> Vec<u8> {
        let job = self.handoff.job;
        let (offset, end) = (job.offset as usize, (job.offset + job.length) as usize);
        assert_eq!(self.frame.len(), end + 16, "room for the ICV and nothing else");
        let text = &mut self.frame[offset..end];
        let tag = esp::key(sa).seal_in_place_separate_tag(nonce(&job), aad(&job), text).unwrap();
        self.frame[end..].copy_from_slice(tag.as_ref());
        self.frame
    }

    /// Opens the payload; false if its ICV is wrong.
    pub fn open(&mut self, sa: &SaConfig) -> bool {
        let job = self.handoff.job;
        let (offset, end) = (job.offset as usize, (job.offset + job.length) as usize);
        esp::key(sa).open_in_place(nonce(&job), aad(&job), &mut self.frame[offset..end + 16]).is_ok()
    }

    /// The frame that returns it to `vgw0`.
    pub fn deliver(&self) -> Vec<u8> {
        [return_header(ReturnKind::Deliver as u32), bytes(&self.handoff), self.frame.clone()].concat()
    }

    /// The frame that asks for the way of an inner header.
    pub fn resolve(&self, header: &[u8]) -> Vec<u8> {
        [return_header(ReturnKind::Resolve as u32), bytes(&self.handoff), header.to_vec()].concat()
    }

    /// The frame that reports a wrong ICV.
    pub fn authentication_failed(&self) -> Vec<u8> {
        [return_header(ReturnKind::AuthenticationFailed as u32), bytes(&self.handoff)].concat()
    }
}

/// A [`ReturnHeader`] of the worker of [`LANE`].
pub fn return_header(kind: u32) -> Vec<u8> {
    let mut ethernet = [0; 14];
    ethernet[..6].copy_from_slice(&VGW0_MAC);
    ethernet[6..12].copy_from_slice(&[2, 0, 0, 0, 1, 1]);
    ethernet[12..].copy_from_slice(&ETHERTYPE_RETURN.to_be_bytes());
    bytes(&ReturnHeader { ethernet, reserved: [0; 2], kind, lane: LANE })
}

fn nonce(job: &Job) -> Nonce {
    Nonce::assume_unique_for_key(job.nonce)
}

fn aad(job: &Job) -> Aad<&[u8]> {
    Aad::from(&job.aad[..job.aad_len as usize])
}

fn bytes<T: Pod>(value: &T) -> Vec<u8> {
    // SAFETY: the type has no padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }.to_vec()
}
