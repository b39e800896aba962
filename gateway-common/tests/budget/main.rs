//! The shared budget against simulated traffic: time is simulated, the words are those that the datapath shares.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "rates and times are positive and far below 2^53"
)]

mod direction;
mod gateway;
mod limits;
mod shares;
mod tcp;
mod threads;
