//! XDP programs of a few dozen instructions, without a compiler: what benchmarks put around what they measure.

pub(crate) mod programs;
mod raw;

pub(crate) use raw::{Link, Map, Program};
