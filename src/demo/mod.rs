//! Simulated devices and a small FHIR + SMART server.

pub mod fhir_server;
