//! Authorities and what they certify, for doors that encrypt: the same as the tests of the doors themselves use.
#![allow(dead_code, reason = "each rig uses its part of this module")]

pub(crate) use bedside::tls::{Peer, Settings, fingerprint};

#[path = "../../src/tls/rig.rs"]
pub(crate) mod rig;

/// How a certificate is named in a `tls` section.
pub(crate) fn shown(issued: &rig::Issued) -> String {
    format!("cert_file = \"{}\", key_file = \"{}\"", issued.cert_file.display(), issued.key_file.display())
}

/// How an authority is.
pub(crate) fn trusted(authority: &rig::Authority) -> String {
    format!("ca_file = \"{}\"", authority.ca_file().unwrap().display())
}
