//! Arguments → config → gateway; the only user of anyhow.
#![forbid(unsafe_code)]

fn main() {}
