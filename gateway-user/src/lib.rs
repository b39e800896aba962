//! The gateway's agent and its command line.
//!
//! One agent process runs one gateway. The command line talks to it over the HTTP API on the agent's unix socket.

pub mod agent;
pub mod api;
pub mod capture;
pub mod cli;
pub mod datapath;
pub mod model;
pub mod netcfg;
pub mod store;
pub mod worker;
