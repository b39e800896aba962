//! The source of randomness, given from outside so that tests can replay a run.

/// A cryptographically secure source of random octets.
///
/// Implemented for every infallible [`rand_core::CryptoRng`] that may move between threads.
pub trait SecureRng: Send {
    /// Overwrites all of `destination` with random octets.
    fn fill(&mut self, destination: &mut [u8]);
}

impl<R: rand_core::CryptoRng + Send + ?Sized> SecureRng for R {
    fn fill(&mut self, destination: &mut [u8]) {
        self.fill_bytes(destination);
    }
}
