//! The shared budget against simulated traffic: time is simulated, the words are those that the datapath shares.

mod direction;
mod gateway;
mod limits;
mod shares;
mod tcp;
mod threads;
