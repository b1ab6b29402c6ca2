//! What a started box says on its console: where the desk is, how to recognise it, and the one-time code.

use super::tell;
use crate::gateway::{Console, Up};

/// Writes to standard error (the journal, under systemd).
pub(super) struct Terminal;

impl Console for Terminal {
    fn up(&self, up: &Up) {
        tell(format!("Bedside {} is running with {} link(s).", env!("CARGO_PKG_VERSION"), up.links));
        if let Some(desk) = up.desk {
            let host = if desk.ip().is_unspecified() { "<this box>".into() } else { desk.ip().to_string() };
            tell(format!("Desk: https://{host}:{}/", desk.port()));
        }
        if let Some(fingerprint) = &up.fingerprint {
            tell(format!("Its certificate's SHA-256 fingerprint: {fingerprint}"));
        }
        let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    fn setup_code(&self, code: &str) {
        tell(format!("One-time set-up code for the first account: {code}"));
    }

    fn say(&self, line: &str) {
        tell(line);
    }
}
