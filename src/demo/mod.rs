//! Simulated devices and a small FHIR + SMART server: the demo, `bedside simulate` and the rigs use them.

pub mod fhir_server;
pub mod pty;
pub mod template;
