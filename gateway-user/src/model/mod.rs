//! The network configuration as typed data: virtual networks, local network sites, gateways, connections.
//!
//! The types hold what the XML of [`crate::netcfg`] says; the rules between them (references, overlaps, counts) are
//! checked there; the rule for names is here, because they become paths before any file is read. The states a gateway and its connections go through, its engines and the rule for pre-shared keys are here too,
//! because every surface (CLI, REST, metrics) shows them under the same names.

mod bandwidth;
mod config;
mod dscp;
mod engine;
mod gateway_address;
mod lookup;
mod mss_clamp;
mod names;
mod outer_df;
mod parameters;
mod shared_key;
mod state;

pub use bandwidth::{
    Bandwidth, BandwidthDirection, BandwidthError, GatewayBandwidth, OptionalBandwidth, UnknownDirection,
};
pub use config::{
    ConnectionKind, ConnectionRef, DnsServer, GATEWAY_SUBNET, Gateway, LocalNetworkSite,
    NetworkConfiguration, Placement, Profile, Subnet, UnknownProfile, VirtualNetworkSite,
};
pub use dscp::{OuterDscp, UnknownOuterDscp};
pub use engine::{Engine, EngineChoice, UnknownEngine, WorkerState};
pub use gateway_address::{GatewayAddress, HostName, NoGatewayAddress};
pub use lookup::{LookupError, ResolvedConnection};
pub use mss_clamp::{MssClamp, UnknownMssClamp};
pub use names::{MAX_NAME_LEN, is_valid_name};
pub use outer_df::{OuterDf, UnknownOuterDf};
pub use parameters::{
    AuthMethod, CHILD_LIFETIME, CHILD_SAS, ConnectionParameters, DPD, IKE_LIFETIME, ParameterError,
    ParametersDocument, TrafficSelectors, WEIGHT,
};
pub use shared_key::{SharedKey, SharedKeyError};
pub use state::{ConnectionState, GatewayState, VirtualNetworkState};
