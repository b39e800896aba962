//! Two endpoints against each other in a simulated network.

mod connect;
mod sim;
