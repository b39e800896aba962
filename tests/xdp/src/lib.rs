//! The XDP programs without a network: frames go in by `BPF_PROG_TEST_RUN`, verdicts and frames come out.
//!
//! [`GatewayUnderTest`] holds the loaded programs; [`frames`] and [`esp`] build and read packets by hand, and [`worker`] does the
//! AEAD's part of an AF_XDP worker, so that nothing is checked against the gateway's own code. Apart from the laboratory, because it needs the compiled programs.

pub mod esp;
pub mod frames;
mod gateway;
mod lanes;
pub mod worker;

pub use gateway::{
    CPU_SAS, GATEWAY_MAC, GatewayUnderTest, HOST, HOST_MAC, HOST6, INGRESS, LAN_QUEUES, LOCAL, LOCAL6,
    OTHER_HOST, OTHER_HOST6, Outcome, PEER_HOST, PEER_HOST6, REMOTE, REMOTE6, ROUTER_MAC, TUNNEL_MTU,
    UNRESOLVED_REMOTE, UNRESOLVED_REMOTE6, VGW_PEER_IFINDEX, VGW0_MAC, Verdict, sa,
};
pub use lanes::LANE;
