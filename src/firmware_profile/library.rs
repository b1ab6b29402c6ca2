//! All profiles there are: those built in, and those a site put beside them.
//!
//! A built-in page is read when somebody first asks for it: a box with three devices neither waits for the other pages
//! nor holds what was made of them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::{Fault, FirmwareProfile, packed};

/// Profiles by id.
#[derive(Clone, Debug, Default)]
pub struct Library {
    pages: BTreeMap<Arc<str>, Page>,
}

#[derive(Clone, Debug)]
struct Page {
    text: Arc<str>,
    profile: OnceLock<Option<Arc<FirmwareProfile>>>,
}

impl Page {
    fn unread(text: &str) -> Self {
        Self { text: text.into(), profile: OnceLock::new() }
    }

    fn profile(&self, id: &str) -> Option<&Arc<FirmwareProfile>> {
        let read = || FirmwareProfile::parse(id, &self.text).ok().map(Arc::new);
        self.profile.get_or_init(read).as_ref()
    }
}

/// A capture of a profile's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Its file name.
    pub name: String,
    /// What the device said.
    pub frame: Vec<u8>,
    /// The MQTT topic it came on.
    pub topic: Option<String>,
    /// What it said when it was reviewed: JSON of [`super::Decoded`] as of [`super::LinkContext::of_goldens`].
    pub golden: Option<String>,
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
    ///
    /// # Errors
    /// A page that is not text. What else could be wrong with one is for [`Library::check`].
    pub fn embedded() -> Result<Self, LibraryError> {
        let mut pages = BTreeMap::new();
        for path in packed::paths() {
            let Some(id) = path.strip_suffix("/profile.toml") else { continue };
            let Some(file) = packed::file(path) else { continue };
            let text =
                std::str::from_utf8(&file).map_err(|_| LibraryError { id: id.into(), faults: Vec::new() })?;
            pages.insert(id.into(), Page::unread(text));
        }
        Ok(Self { pages })
    }

    /// Adds pages of a site, by id such as `ihe/pcd01-monitor`; one with a known id takes its place.
    ///
    /// # Errors
    /// The first page with faults.
    pub fn with_overrides(mut self, pages: Vec<(String, String)>) -> Result<Self, LibraryError> {
        for (id, text) in pages {
            match FirmwareProfile::parse(&id, &text) {
                Ok(profile) => {
                    let profile = OnceLock::from(Some(Arc::new(profile)));
                    self.pages.insert(id.into(), Page { text: text.into(), profile });
                }
                Err(faults) => return Err(LibraryError { id, faults }),
            }
        }
        Ok(self)
    }

    /// The same with one page more, or in place of another.
    ///
    /// # Errors
    /// The faults of the page.
    pub fn with_page(&self, id: &str, text: &str) -> Result<Self, LibraryError> {
        self.clone().with_overrides(vec![(id.into(), text.into())])
    }

    /// The same without this page.
    #[must_use]
    pub fn without(&self, id: &str) -> Self {
        let mut rest = self.clone();
        rest.pages.remove(id);
        rest
    }

    /// The page of this id as it is part of the program.
    pub fn shipped(id: &str) -> Option<String> {
        let file = packed::file(&format!("{id}/profile.toml"))?;
        Some(String::from_utf8_lossy(&file).into_owned())
    }

    /// Every file of a profile's folder that is part of the program: path in the folder and content.
    pub fn files(id: &str) -> Vec<(String, Vec<u8>)> {
        let folder = format!("{id}/");
        let mut files: Vec<(String, Vec<u8>)> = packed::paths()
            .filter_map(|path| {
                let name = path.strip_prefix(&folder)?.to_owned();
                Some((name, packed::file(path)?))
            })
            .collect();
        files.sort();
        files
    }

    /// The captures of a profile as `read_by` takes them, which may be another version of its page.
    pub fn shelf(id: &str, read_by: &FirmwareProfile) -> Vec<Capture> {
        let files = Self::files(id);
        let golden_of = |name: &str| {
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            let golden = format!("captures/{stem}.golden");
            let (_, text) = files.iter().find(|(path, _)| *path == golden)?;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let capture = |(path, file): &(String, Vec<u8>)| {
            let name = path.strip_prefix("captures/").filter(|name| !name.ends_with(".golden"))?;
            Some(Capture {
                name: name.to_owned(),
                frame: read_by.frame_of_capture(name, file)?,
                topic: read_by.topic_of(name),
                golden: golden_of(name),
            })
        };
        files.iter().filter_map(capture).collect()
    }

    /// Reads every page.
    ///
    /// # Errors
    /// The first page with faults.
    pub fn check(&self) -> Result<(), LibraryError> {
        for (id, page) in &self.pages {
            FirmwareProfile::parse(id, &page.text)
                .map_err(|faults| LibraryError { id: id.to_string(), faults })?;
        }
        Ok(())
    }

    /// The profile with this id.
    pub fn find(&self, id: &str) -> Option<Arc<FirmwareProfile>> {
        self.pages.get(id)?.profile(id).cloned()
    }

    /// Its page as written.
    pub fn page(&self, id: &str) -> Option<Arc<str>> {
        self.pages.get(id).map(|page| page.text.clone())
    }

    /// All ids, sorted.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.pages.keys().map(|id| &**id)
    }

    /// All profiles, by id.
    pub fn profiles(&self) -> impl Iterator<Item = &Arc<FirmwareProfile>> {
        self.pages.iter().filter_map(|(id, page)| page.profile(id))
    }

    /// The profiles whose fingerprint knows this frame, the best first: the one that recognises most of it, and pages
    /// of no particular device last.
    pub fn fitting(&self, bytes: &[u8]) -> Vec<Arc<FirmwareProfile>> {
        let mut fitting: Vec<_> =
            self.profiles().filter_map(|p| Some((p.fit(bytes)?, Arc::clone(p)))).collect();
        // A stable sort: what fits equally well stays in the order of the ids.
        fitting.sort_by_key(|(fit, profile)| (profile.id.starts_with("generic/"), std::cmp::Reverse(*fit)));
        fitting.into_iter().map(|(_, profile)| profile).collect()
    }

    /// The profile that fits a frame best, if any does.
    pub fn best(&self, bytes: &[u8]) -> Option<Arc<FirmwareProfile>> {
        self.fitting(bytes).into_iter().next()
    }

    /// The built-in captures of a profile, as frames: file name and bytes. Simulated devices send them.
    pub fn captures(&self, id: &str) -> Vec<(String, Vec<u8>)> {
        let Some(profile) = self.find(id) else { return Vec::new() };
        let folder = format!("{id}/captures/");
        let mut captures: Vec<(String, Vec<u8>)> = packed::paths()
            .filter_map(|path| {
                let name = path.strip_prefix(&folder)?.to_owned();
                let file = packed::file(path).filter(|_| !name.ends_with(".golden"))?;
                let bytes = profile.frame_of_capture(&name, &file)?;
                Some((name, bytes))
            })
            .collect();
        captures.sort();
        captures
    }
}

impl FirmwareProfile {
    /// The topic a capture came on: as its test says, else the first that is suggested for a link.
    pub fn topic_of(&self, capture: &str) -> Option<String> {
        let own = self.tests.iter().find(|test| test.capture == capture).and_then(|test| test.topic.clone());
        own.or_else(|| self.transport.mqtt.as_ref().and_then(|mqtt| mqtt.topics.first().cloned()))
    }

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
mod tests {
    // Every folder is checked against its goldens: what a capture says today is what it said when it was reviewed.
    // `BLESS=1` writes the goldens anew; read the difference before you commit it.

    use std::path::{Path, PathBuf};

    use super::*;
    use crate::firmware_profile::{Decoded, LinkContext};

    fn folder(id: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles").join(id)
    }

    fn topic_of(profile: &FirmwareProfile, capture: &str) -> Option<String> {
        let case = profile.tests.iter().find(|test| test.capture == capture);
        let own = case.and_then(|test| test.topic.clone());
        own.or_else(|| profile.transport.mqtt.as_ref().and_then(|mqtt| mqtt.topics.first().cloned()))
    }

    fn decoded(profile: &FirmwareProfile, name: &str, frame: &[u8]) -> Decoded {
        profile.decode(frame, topic_of(profile, name).as_deref(), &LinkContext::golden())
    }

    #[test]
    fn every_built_in_profile_is_without_fault() {
        let library = Library::embedded().unwrap();
        library.check().unwrap_or_else(|error| panic!("{error}"));
        assert!(library.ids().count() > 0);
    }

    #[test]
    fn every_capture_says_what_its_golden_says() {
        let library = Library::embedded().unwrap();
        let bless = std::env::var_os("BLESS").is_some();
        let mut differing = Vec::new();
        for id in library.ids() {
            let profile = library.find(id).unwrap();
            for (name, frame) in library.captures(id) {
                let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
                let path = folder(id).join("captures").join(format!("{stem}.golden"));
                let mut says = serde_json::to_string_pretty(&decoded(&profile, &name, &frame)).unwrap();
                says.push('\n');
                if bless {
                    std::fs::write(&path, &says).unwrap();
                } else if std::fs::read_to_string(&path).unwrap_or_default() != says {
                    differing.push(path.display().to_string());
                }
            }
        }
        assert!(differing.is_empty(), "these goldens differ (BLESS=1 rewrites them): {differing:#?}");
    }

    #[test]
    fn a_page_can_be_put_in_and_taken_out_and_the_shipped_one_stays_known() {
        let library = Library::embedded().unwrap();
        let id = "masimo/ascii1";
        let shipped = Library::shipped(id).unwrap();
        let other = library.with_page(id, &format!("# ours\n{shipped}")).unwrap();
        assert_ne!(other.find(id).unwrap().hash, library.find(id).unwrap().hash);
        assert!(other.without(id).find(id).is_none() && library.find(id).is_some());
        assert!(library.with_page(id, "[device").is_err());
        let shelf = Library::shelf(id, &library.find(id).unwrap());
        let context = LinkContext::of_goldens().unwrap();
        for capture in &shelf {
            let says = library.find(id).unwrap().decode(&capture.frame, capture.topic.as_deref(), &context);
            let says = serde_json::to_string_pretty(&says).unwrap();
            assert_eq!(capture.golden.as_deref().map(str::trim_end), Some(says.as_str()), "{}", capture.name);
        }
        assert!(shelf.len() >= 5);
    }

    #[test]
    fn every_folder_has_captures_and_one_that_can_be_sent_again() {
        let library = Library::embedded().unwrap();
        for profile in library.profiles() {
            let captures = library.captures(&profile.id);
            assert!(captures.len() >= 3, "{} has {} captures", profile.id, captures.len());
            for test in &profile.tests {
                assert!(
                    captures.iter().any(|(name, _)| *name == test.capture),
                    "{}: no {}",
                    profile.id,
                    test.capture
                );
            }
            let replayed: Vec<_> = profile.tests.iter().filter(|test| test.replay).collect();
            assert!(!replayed.is_empty(), "{} has nothing to replay", profile.id);
            for test in replayed {
                let (name, frame) = captures.iter().find(|(name, _)| *name == test.capture).unwrap();
                let decoded = decoded(profile, name, frame);
                let orders = profile.arriving_orders(frame, &LinkContext::golden()).is_some();
                assert!(decoded.measurements() > 0 || orders, "{}: {name} says nothing", profile.id);
            }
            assert!(
                profile.verified <= crate::firmware_profile::Verified::Simulator,
                "no real device has said otherwise"
            );
        }
    }

    #[test]
    fn an_analyser_is_known_by_its_own_page_and_the_general_one_comes_last() {
        let library = Library::embedded().unwrap();
        let analysers = library.profiles().filter(|profile| profile.codec.word() == "astm");
        for profile in analysers.filter(|profile| !profile.id.starts_with("generic/")) {
            for (name, frame) in library.captures(&profile.id) {
                let fitting: Vec<_> = library.fitting(&frame).iter().map(|p| p.id.to_string()).collect();
                assert_eq!(fitting.first().map(String::as_str), Some(&*profile.id), "{name}: {fitting:?}");
                assert_eq!(fitting.iter().filter(|id| !id.starts_with("generic/")).count(), 1, "{fitting:?}");
            }
        }
        let unknown = b"H|\\^&|||NOBODY-KNOWS^1\rL|1\r";
        assert_eq!(&*library.best(unknown).unwrap().id, "generic/astm-analyser");
        assert!(library.best(b"nothing at all").is_none());
    }

    #[test]
    fn the_bytes_of_a_capture_never_break_a_decoder() {
        let library = Library::embedded().unwrap();
        let context = LinkContext::golden();
        let mut state = 0x2545_F491_4F6C_DD1Du64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below.max(1) as u64).unwrap()
        };
        for profile in library.profiles() {
            for (name, frame) in library.captures(&profile.id) {
                let topic = topic_of(profile, &name);
                for _ in 0..60 {
                    let mut bytes = frame.clone();
                    for _ in 0..=next(4) {
                        let at = next(bytes.len());
                        match next(4) {
                            0 if !bytes.is_empty() => bytes[at] = u8::try_from(next(256)).unwrap(),
                            1 => bytes.truncate(at),
                            2 => bytes.insert(at.min(bytes.len()), b"|^~\\&\r\n\"-0\xFF"[next(11)]),
                            _ => {
                                let tail = frame[next(frame.len())..].to_vec();
                                bytes.extend(tail);
                            }
                        }
                    }
                    let decoded = profile.decode(&bytes, topic.as_deref().or(Some("a/b/c")), &context);
                    assert!(
                        !decoded.reports.is_empty() || decoded.held.is_some() || decoded.ignored.is_some(),
                        "{name}: a frame vanished"
                    );
                }
            }
        }
    }

    #[test]
    fn a_page_of_a_site_takes_the_place_of_a_built_in_one() {
        let library = Library::embedded().unwrap();
        let id = library.ids().next().unwrap().to_owned();
        let page = library.page(&id).unwrap().to_string();
        let other = format!("# ours\n{page}");
        let before = library.find(&id).unwrap().hash.clone();
        let after =
            library.with_overrides(vec![(id.clone(), other)]).unwrap().find(&id).unwrap().hash.clone();
        assert_ne!(before, after);
        let error = Library::default().with_overrides(vec![("a/b".into(), "[device]".into())]).unwrap_err();
        assert!(error.to_string().contains("a/b") && error.to_string().contains('^'), "{error}");
    }

    /// The messages in the bytes of a line, as its link layer gives them.
    fn messages(bytes: &[u8]) -> Vec<Vec<u8>> {
        use crate::wire::{Answer, Step, astm, framer};
        use std::time::Duration;
        // Records without frames are a message already.
        if !bytes.contains(&2) {
            return vec![bytes.to_vec()];
        }
        let mut framer = framer(&crate::wire::Codec::Astm(astm::Settings::default()));
        let mut messages = Vec::new();
        let mut run = |framer: &mut dyn crate::wire::Framer| {
            while let Some(step) = framer.step() {
                let (ticket, bytes) = match step {
                    Step::Frame { ticket, bytes, .. } => (ticket, Some(bytes)),
                    Step::Part { ticket, .. } => (ticket, None),
                    _ => continue,
                };
                messages.extend(bytes);
                framer.answer(ticket, Answer::Kept { body: None }, Duration::ZERO);
            }
        };
        framer.feed(b"\x05", Duration::ZERO);
        for chunk in bytes.chunks(8) {
            framer.feed(chunk, Duration::ZERO);
            run(&mut *framer);
        }
        framer.feed(b"\x04", Duration::ZERO);
        run(&mut *framer);
        framer.end(Duration::ZERO);
        run(&mut *framer);
        messages
    }

    /// Real messages, where a folder of them is given: each is decoded, and nothing vanishes without a word.
    #[test]
    #[allow(clippy::print_stderr, reason = "the counts are what a person runs this for")]
    fn the_samples_are_decoded_when_they_are_there() {
        let Some(root) = std::env::var_os("BEDSIDE_SAMPLES").map(PathBuf::from) else { return };
        let library = Library::embedded().unwrap();
        let folders = [
            ("hl7/pcd01", "ihe/pcd01-monitor"),
            ("hl7/v2-to-fhir/cdc-prime-reportstream", "mindray/bs-chemistry"),
            ("hl7/v2-to-fhir/microsoft-fhir-converter", "mindray/bs-chemistry"),
            ("astm", "generic/astm-analyser"),
            ("astm", "sysmex/xn"),
            ("mqtt", "ble-gateway/vital-kit"),
        ];
        for (folder, id) in folders {
            let profile = library.find(id).unwrap();
            let mut counts = std::collections::BTreeMap::<String, usize>::new();
            let mut files: Vec<_> =
                std::fs::read_dir(root.join(folder)).unwrap().flatten().map(|f| f.path()).collect();
            files.sort();
            for path in files {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let document = name.ends_with(".json") && folder != "mqtt";
                if name.starts_with("SOURCE") || document {
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap();
                let frames = if folder == "astm" { messages(&bytes) } else { vec![bytes] };
                for frame in frames {
                    let wrapped: Option<serde_json::Value> = serde_json::from_slice(&frame).ok();
                    let payload = wrapped.as_ref().and_then(|w| w.get("payload")).map(ToString::to_string);
                    let decoded = profile.decode(
                        payload.as_ref().map_or(&frame, String::as_bytes),
                        None,
                        &LinkContext::golden(),
                    );
                    assert!(
                        !decoded.reports.is_empty() || decoded.held.is_some() || decoded.ignored.is_some(),
                        "{name}"
                    );
                    if std::env::var_os("BEDSIDE_SAMPLES_SHOW").is_some() {
                        let codes: Vec<_> = decoded.findings.iter().map(|f| (f.code, &f.place)).collect();
                        let reasons = (&decoded.held, &decoded.ignored);
                        eprintln!(
                            "{name}: {} in {} {reasons:?} {codes:?}",
                            decoded.measurements(),
                            decoded.reports.len()
                        );
                    }
                    *counts.entry("frames".into()).or_default() += 1;
                    *counts.entry("measurements".into()).or_default() += decoded.measurements();
                    *counts.entry("held".into()).or_default() += usize::from(decoded.held.is_some());
                    *counts.entry("ignored".into()).or_default() += usize::from(decoded.ignored.is_some());
                    for finding in decoded.findings {
                        *counts.entry(format!("finding {}", finding.code)).or_default() += 1;
                    }
                }
            }
            eprintln!("{folder}: {counts:?}");
            assert!(counts.get("frames").is_some_and(|frames| *frames > 0), "no sample in {folder}");
        }
    }
}
