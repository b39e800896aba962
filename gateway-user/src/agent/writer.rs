//! A thread for what waits for the disk.

use tokio::task::JoinSet;

use crate::store::{StoreError, Write};

/// Writes files beside the core's task, one at a time as the core hands them out.
#[derive(Debug, Default)]
pub(super) struct Writer {
    running: JoinSet<Result<(), StoreError>>,
}

impl Writer {
    /// Begins to write a file.
    pub(super) fn begin(&mut self, write: Write) {
        self.running.spawn_blocking(|| write.run());
    }

    /// Waits until a file is on the disk or cannot be written, for ever while none is being written. Safe to cancel.
    pub(super) async fn next(&mut self) -> Result<(), StoreError> {
        match self.running.join_next().await {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => std::future::pending().await,
        }
    }
}
