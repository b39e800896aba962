//! A thread that reads the certificate files again.

use tokio::task::JoinSet;

use super::certificates::{CertificateFileError, CertificateFiles, Certificates};

/// Reads the certificate files beside the core's task.
#[derive(Debug)]
pub(super) struct CertificateReader {
    files: CertificateFiles,
    running: JoinSet<Result<Certificates, CertificateFileError>>,
    /// Asked for while the files were being read: they may have changed since.
    is_wanted_again: bool,
}

impl CertificateReader {
    pub(super) fn new(files: CertificateFiles) -> Self {
        Self { files, running: JoinSet::new(), is_wanted_again: false }
    }

    /// Begins to read, or to read once more when the reading under way has ended. Without files that does nothing.
    pub(super) fn begin(&mut self) {
        if self.files.is_empty() {
            return;
        }
        self.is_wanted_again = !self.running.is_empty();
        if !self.is_wanted_again {
            let files = self.files.clone();
            self.running.spawn_blocking(move || files.load());
        }
    }

    /// Waits for the outcome, for ever while nothing is being read. Safe to cancel.
    pub(super) async fn next(&mut self) -> Result<Certificates, CertificateFileError> {
        let outcome = match self.running.join_next().await {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => std::future::pending().await,
        };
        if self.is_wanted_again {
            self.begin();
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::write_certificates;
    use super::*;

    #[tokio::test]
    async fn what_is_asked_for_during_a_reading_is_read_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = CertificateReader::new(write_certificates(dir.path(), "gw1.example"));
        for _ in 0..3 {
            reader.begin();
        }
        assert!(reader.next().await.is_ok());
        assert!(!reader.running.is_empty(), "once more");
        assert!(reader.next().await.is_ok());
        assert!(reader.running.is_empty(), "and no more");
    }
}
