//! The AF_XDP worker: a process of its own that seals and opens what the XDP programs hand over.
//!
//! ```text
//! config   what the agent tells a worker, and what the worker answers
//! ```

mod config;

pub use config::{CopyMode, LaneConfig, LaneReport, WorkerConfig, WorkerInterface, WorkerReport};
