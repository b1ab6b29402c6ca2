//! What the rigs share about meaning: one frame through a profile and into FHIR, as the gateway does it.
#![allow(dead_code, reason = "each rig uses its part of this module")]
#![allow(clippy::unwrap_used)]

use bedside::clock::Timestamp;
use bedside::device::Identifier;
use bedside::firmware_profile::{Decoded, FirmwareProfile, LinkContext};
use bedside::translate::{self, Context, Gateway, QualityControl, Translation, Unidentified};

/// How the rigs' gateway treats what it translates.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) zone: &'static str,
    pub(crate) simulated: bool,
    pub(crate) unidentified: Unidentified,
    pub(crate) quality_control: QualityControl,
}

impl Default for Setting {
    /// Nothing is held for want of a patient: as much as possible becomes FHIR.
    fn default() -> Self {
        Self {
            zone: "Europe/Berlin",
            simulated: true,
            unidentified: Unidentified::Deliver,
            quality_control: QualityControl::Deliver,
        }
    }
}

/// 2026-03-14T08:30:00Z.
pub(crate) fn received() -> Timestamp {
    Timestamp::from_micros(1_773_477_000_000_000, true)
}

/// Decodes and translates one frame.
pub(crate) fn read(
    profile: &FirmwareProfile,
    frame: &[u8],
    topic: Option<&str>,
    setting: Setting,
) -> (Decoded, Translation) {
    let link = LinkContext::new("rig", setting.zone, received()).unwrap();
    let decoded = profile.decode(frame, topic, &link);
    let gateway = Gateway {
        id: Identifier { system: "urn:ietf:rfc:3986".into(), value: "urn:uuid:rig".into(), kind: None },
        name: "Rig".into(),
        version: "0".into(),
        patient_system: None,
    };
    let context = Context {
        gateway: &gateway,
        link: "rig",
        received: received(),
        simulated: setting.simulated,
        unidentified: setting.unidentified,
        quality_control: setting.quality_control,
        bound_patient: None,
        waveforms: true,
        sequence: "rig-sequence",
        attributions: &[],
        withdrawn: false,
    };
    let translation = translate::translate_frame(&decoded.reports, &context);
    (decoded, translation)
}
