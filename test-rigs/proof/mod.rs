//! What every fault rig shares: senders that believe nothing until it is acknowledged, a clinic whose box can be
//! started in any surroundings and ended in any way, and one oracle that says afterwards which promise was broken.
#![allow(dead_code, reason = "each rig uses its part of this module")]

pub(crate) mod clinic;
pub(crate) mod devices;
pub(crate) mod oracle;
