//! gateway-user
