//! A thread that reads the certificate files again.

use tokio::task::JoinSet;

use super::certificates::{CertificateFileError, CertificateFiles, Certificates};

/// Reads the certificate files beside the core's task.
#[derive(Debug)]
pub(super) struct CertificateReader {
    files: CertificateFiles,
    running: JoinSet<Result<Certificates, CertificateFileError>>,
}

impl CertificateReader {
    pub(super) fn new(files: CertificateFiles) -> Self {
        Self { files, running: JoinSet::new() }
    }

    /// Begins to read. Without files, or while they are being read, that does nothing.
    pub(super) fn begin(&mut self) {
        if !self.files.is_empty() && self.running.is_empty() {
            let files = self.files.clone();
            self.running.spawn_blocking(move || files.load());
        }
    }

    /// Waits for the outcome, for ever while nothing is being read. Safe to cancel.
    pub(super) async fn next(&mut self) -> Result<Certificates, CertificateFileError> {
        match self.running.join_next().await {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => std::future::pending().await,
        }
    }
}
