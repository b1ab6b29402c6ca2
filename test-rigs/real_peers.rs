//! Third-party servers.
