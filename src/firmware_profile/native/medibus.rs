use super::{Said, Silent};
use crate::device::Finding;
use crate::firmware_profile::{FirmwareProfile, LinkContext};

pub(super) fn read(
    _bytes: &[u8],
    _profile: &FirmwareProfile,
    _context: &LinkContext,
    _findings: &mut Vec<Finding>,
) -> Result<Vec<Said>, Silent> {
    Err(Silent::Held("this grammar is not read yet".into()))
}
