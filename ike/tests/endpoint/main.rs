//! Two endpoints against each other in a simulated network.

mod collide;
mod connect;
mod failure;
mod fragments;
mod hostile;
mod lifecycle;
mod nat;
mod rekey;
mod robustness;
mod rogue;
mod sim;
