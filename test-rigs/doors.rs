//! Bad input at every door of the real binary: it is answered as the protocol says, what was acknowledged is kept, what
//! nobody can use waits with a reason that a person can act on, and good input goes on beside it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "doors/authority.rs"]
mod authority;
#[path = "doors/clinic.rs"]
mod clinic;
#[path = "common/mod.rs"]
mod common;
#[path = "doors/desk.rs"]
mod desk;
#[path = "doors/speak.rs"]
mod speak;

#[path = "doors/association.rs"]
mod association;
#[path = "doors/attribution.rs"]
mod attribution;
#[path = "doors/alarms.rs"]
mod alarms;
#[path = "doors/astm.rs"]
mod astm;
#[path = "doors/audited.rs"]
mod audited;
#[path = "doors/backups.rs"]
mod backups;
#[path = "doors/handshakes.rs"]
mod handshakes;
#[path = "doors/config.rs"]
mod config;
#[path = "doors/disk.rs"]
mod disk;
#[path = "doors/lines.rs"]
mod lines;
#[path = "doors/mllp.rs"]
mod mllp;
#[path = "doors/pairing.rs"]
mod pairing;
#[path = "doors/people.rs"]
mod people;
#[path = "doors/mqtt.rs"]
mod mqtt;
#[path = "doors/routes.rs"]
mod routes;
#[path = "doors/secure.rs"]
mod secure;
#[path = "doors/servers.rs"]
mod servers;
#[path = "doors/simulate.rs"]
mod simulate;
#[path = "doors/ward.rs"]
mod ward;
#[path = "doors/worklist.rs"]
mod worklist;
