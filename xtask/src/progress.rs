//! What a person sees while a command works.

use std::time::Instant;

/// A slow step: announced when it begins, timed when it ends.
pub(crate) struct Step {
    start: Instant,
}

impl Step {
    /// Announces `what`, which reads like "Building vgw".
    pub(crate) fn begin(what: &str) -> Self {
        println!("==> {what}");
        Self { start: Instant::now() }
    }

    /// Ends the step with a short `result`, for instance "Connected".
    pub(crate) fn end(self, result: &str) {
        println!("    {result} ({:.1} s)", self.start.elapsed().as_secs_f64());
    }
}
