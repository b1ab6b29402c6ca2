//! Bedside reads bedside and lab devices, keeps what they said, and delivers it as HL7 FHIR R4.
//!
//! This list is the plan of the house. The order is the floors: a room imports only rooms above it in this
//! list, and a door never imports another door. `test-rigs/house.rs` reads the list and holds the rule.
#![forbid(unsafe_code)]

// ── ground ──
/// Faults that a build for the rigs commits on purpose; nothing in any other build.
pub mod sabotage;
/// What this program is made of: a bill of materials, and the notices of the licences.
pub mod sbom;
/// The only reader of the clock; a [`clock::Timestamp`] knows whether the clock was synchronised.
pub mod clock;
/// Conditions in CEL: what may be written in one, and when it holds.
pub mod expression;
/// MDC (IEEE 11073-10101), UCUM and LOINC: tables and lookups.
pub mod nomenclature;
/// Secrets: loaded by name, never printed, never serialised, zeroed.
pub mod secret;
/// Encrypted files in the format age v1: sealed for a recipient or a passphrase, read back, opened.
pub mod sealed;
/// TLS settings of a connection, and what rustls makes of them.
pub mod tls;
/// Signed updates: who may publish a program, where it stands, which one is started.
pub mod update;
// ── what devices say ──
/// Device, Metric, Measurement, Value, MeasurementStatus, Decimal (IEEE 11073-10201).
pub mod device;
/// Link layers: bytes ↔ frames, without I/O.
pub mod wire;
/// HL7 v2 messages in ER7: parse, navigate, acknowledge.
pub mod hl7v2;
/// The FHIR R4 resources Bedside writes.
pub mod fhir;
// ── meaning ──
/// Firmware profiles: one folder describes one device; frame + profile → measurements.
pub mod firmware_profile;
/// Persons, their identifiers and their beds over time, and whose an observation is.
pub mod identity;
/// Measurements → FHIR resources, by kind of value.
pub mod translate;
/// HL7 v2 messages → FHIR resources, by template.
pub mod template;
/// Which frames go on to other systems, and as which HL7 v2 messages.
pub mod route;
// ── doors ──
/// Who may: passwords, sessions, the set-up code.
pub mod access;
/// What was said, kept in SQLite before it is answered.
pub mod buffer;
/// Connections to source systems: bytes in, frames out, answers when told.
pub mod connector;
/// FHIR servers upstream and the tokens they ask for.
pub mod upstream;
// ── the top ──
/// Who else may vouch for a user: OpenID Connect providers and LDAP directories, asked over the network.
pub mod federation;
/// The desk's certificate from an authority over the network (RFC 8555).
pub mod acme;
/// The desk: HTTPS routes and the embedded web pages.
pub mod admin;
/// `bedside.toml` → Config.
pub mod config;
/// Builds, joins, supervises and stops everything.
pub mod gateway;
/// Simulated devices and a small FHIR + SMART server.
pub mod demo;
/// One file per subcommand.
pub mod cli;
