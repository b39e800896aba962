//! What the figures were measured on.

use std::{fmt, fs};

use serde::{Deserialize, Serialize};

/// Description of the machine.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) kernel: String,
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, {} processors, Linux {}", self.processor, self.processors, self.kernel)
    }
}

/// Describes this machine, as far as it tells.
pub(crate) fn describe() -> Machine {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processor = model.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.to_owned());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    Machine { processor, processors: information.matches("processor\t").count(), kernel }
}
