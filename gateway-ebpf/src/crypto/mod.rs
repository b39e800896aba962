//! AEADs.
