//! All profiles there are: those built in, and those a site put beside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_embed::RustEmbed;

use super::{Fault, FirmwareProfile};

#[derive(RustEmbed)]
#[folder = "firmware-profiles/"]
struct Embedded;

/// Profiles by id.
#[derive(Clone, Debug, Default)]
pub struct Library {
    profiles: BTreeMap<Arc<str>, Arc<FirmwareProfile>>,
    pages: BTreeMap<Arc<str>, Arc<str>>,
}

/// A page that cannot be used, with its faults.
#[derive(Debug, thiserror::Error)]
#[error("the firmware profile {id} has {} fault(s):\n{}", faults.len(), rendered(faults))]
pub struct LibraryError {
    pub id: String,
    pub faults: Vec<Fault>,
}

fn rendered(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}

impl Library {
    /// The profiles that are part of the program.
    pub fn embedded() -> Result<Self, LibraryError> {
        let mut pages = Vec::new();
        for path in Embedded::iter() {
            let Some(id) = path.strip_suffix("/profile.toml") else { continue };
            let Some(file) = Embedded::get(&path) else { continue };
            pages.push((id.to_owned(), String::from_utf8_lossy(&file.data).into_owned()));
        }
        Self::default().with_overrides(pages)
    }

    /// Adds pages of a site, by id such as `ihe/pcd01-monitor`; one with a known id takes its place.
    pub fn with_overrides(mut self, pages: Vec<(String, String)>) -> Result<Self, LibraryError> {
        for (id, page) in pages {
            match FirmwareProfile::parse(&id, &page) {
                Ok(profile) => {
                    self.profiles.insert(id.as_str().into(), Arc::new(profile));
                    self.pages.insert(id.into(), page.into());
                }
                Err(faults) => return Err(LibraryError { id, faults }),
            }
        }
        Ok(self)
    }

    /// The profile with this id.
    pub fn find(&self, id: &str) -> Option<Arc<FirmwareProfile>> {
        self.profiles.get(id).cloned()
    }

    /// Its page as written.
    pub fn page(&self, id: &str) -> Option<Arc<str>> {
        self.pages.get(id).cloned()
    }

    /// All ids, sorted.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(|id| &**id)
    }

    /// All profiles, by id.
    pub fn profiles(&self) -> impl Iterator<Item = &Arc<FirmwareProfile>> {
        self.profiles.values()
    }

    /// The built-in captures of a profile, as frames: file name and bytes. Simulated devices send them.
    pub fn captures(&self, id: &str) -> Vec<(String, Vec<u8>)> {
        let Some(profile) = self.find(id) else { return Vec::new() };
        let folder = format!("{id}/captures/");
        let mut captures: Vec<(String, Vec<u8>)> = Embedded::iter()
            .filter_map(|path| {
                let name = path.strip_prefix(&folder)?.to_owned();
                let file = Embedded::get(&path).filter(|_| !name.ends_with(".golden"))?;
                let bytes = profile.frame_of_capture(&name, &file.data)?;
                Some((name, bytes))
            })
            .collect();
        captures.sort();
        captures
    }
}

impl FirmwareProfile {
    /// The frame a capture file stands for: `.hex` is bytes in hex, and the lines of HL7 and ASTM captures end as
    /// those standards want. `None` when a `.hex` file is not hex.
    pub fn frame_of_capture(&self, name: &str, file: &[u8]) -> Option<Vec<u8>> {
        if name.ends_with(".hex") {
            let text = std::str::from_utf8(file).ok()?;
            return text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        }
        if !self.plan.grammar.ends_lines_with_cr() || !file.contains(&b'\n') {
            return Some(file.to_vec());
        }
        let lines = file.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let mut frame: Vec<u8> = lines.collect::<Vec<_>>().join(&b'\r');
        while frame.ends_with(b"\r\r") {
            frame.pop();
        }
        Some(frame)
    }
}

#[cfg(test)]
#[path = "library_tests.rs"]
pub(super) mod tests;
