//! A folder or a USB stick that carries results by hand: one file of FHIR resources, a line each, for every batch.
//!
//! A batch is `NAME.ndjson` and, after it, `NAME.manifest.json` with its counts and hashes. Both are written under another
//! name, synced, renamed, and the folder synced: whoever finds a manifest finds its file whole. A file without a manifest is
//! not finished. Bedside never makes the folder: while the stick is away its place is an empty mount point, and what
//! would be written there would stay on the box.
//!
//! Bulk data NDJSON: HL7 FHIR Bulk Data Access 2.0, section "Output format"; references read `Kind/id`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::fhir::Resource;

/// Largest manifest that is read back.
const MANIFEST_BYTES: u64 = 4 << 20;
const MANIFEST_END: &str = ".manifest.json";
const PART_END: &str = ".bedside-part";
const FORMAT: &str = "bedside-ndjson-1";

/// Where the files go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A folder on the stick, such as `/media/stick/bedside`; made by a person, never by Bedside.
    pub folder: PathBuf,
}

impl Config {
    /// What is wrong with it, as a sentence.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> Result<(), String> {
        match self.folder.is_absolute() && self.folder.parent().is_some() {
            true => Ok(()),
            false => Err(format!(
                "folder = \"{}\" is not a full path such as /media/stick/bedside",
                self.folder.display()
            )),
        }
    }
}

/// What stands beside a file.
#[derive(Serialize, Deserialize)]
struct Manifest {
    format: String,
    file: String,
    lines: usize,
    bytes: usize,
    sha256: String,
    /// Kind → how many lines.
    resources: BTreeMap<String, usize>,
    entries: Vec<EntryIn>,
}

#[derive(Serialize, Deserialize)]
struct EntryIn {
    id: i64,
    /// Of its lines: a correction of the same entry is another.
    sha256: String,
}

/// One entry to be written.
pub struct Carried<'a> {
    pub id: i64,
    /// It may be there already: it was on its way once.
    pub tried: bool,
    pub resources: &'a [Resource],
}

/// The folder.
#[derive(Debug)]
pub struct Folder {
    config: Config,
}

impl Folder {
    pub const fn new(config: Config) -> Self {
        Self { config }
    }

    pub fn path(&self) -> &Path {
        &self.config.folder
    }

    /// Writes one file of what is not there yet; one verdict for each entry, in their order. Blocks.
    pub fn deliver(&self, entries: &[Carried<'_>]) -> Vec<Verdict> {
        match self.write(entries) {
            Ok(verdicts) => verdicts,
            Err(reason) => {
                entries.iter().map(|_| Verdict::Retry { after: None, reason: reason.clone() }).collect()
            }
        }
    }

    /// The error is what a person reads: it names no patient.
    fn write(&self, entries: &[Carried<'_>]) -> Result<Vec<Verdict>, String> {
        let folder = &self.config.folder;
        if !folder.is_dir() {
            return Err(format!(
                "the folder {} is not there: plug the stick in, or make the folder on it (Bedside never makes it)",
                folder.display()
            ));
        }
        let there = match entries.iter().any(|entry| entry.tried) {
            true => self.there().map_err(|fault| unusable(folder, &fault))?,
            false => HashMap::new(),
        };
        let sums: Vec<String> = entries.iter().map(|entry| sum_of(entry.resources)).collect();
        let of = |entry: &Carried<'_>, sum: &String| there.get(&(entry.id, sum.clone())).cloned();
        let mut files: Vec<Option<String>> =
            entries.iter().zip(&sums).map(|(entry, sum)| of(entry, sum)).collect();
        let wanted = |at: usize| {
            files.get(at).is_some_and(Option::is_none)
                && entries.get(at).is_some_and(|e| !e.resources.is_empty())
        };
        let missing: Vec<(&Carried<'_>, &String)> = entries
            .iter()
            .zip(&sums)
            .enumerate()
            .filter(|(at, _)| wanted(*at))
            .map(|(_, pair)| pair)
            .collect();
        if !missing.is_empty() {
            let name = self.put(&missing).map_err(|fault| unusable(folder, &fault))?;
            for file in files.iter_mut().filter(|file| file.is_none()) {
                *file = Some(name.clone());
            }
        }
        let answer = |file: Option<String>| serde_json::json!({ "file": file }).to_string();
        Ok(files.into_iter().map(|file| Verdict::Accepted { answer: answer(file) }).collect())
    }

    /// Writes the file and its manifest; its name.
    fn put(&self, entries: &[(&Carried<'_>, &String)]) -> std::io::Result<String> {
        let mut last: HashMap<(&str, &str), usize> = HashMap::new();
        let all: Vec<&Resource> = entries.iter().flat_map(|(entry, _)| entry.resources).collect();
        for (at, one) in all.iter().enumerate() {
            last.insert((one.kind, &one.id), at);
        }
        let mut lines: Vec<&Resource> = all
            .iter()
            .enumerate()
            .filter(|(at, one)| last.get(&(one.kind, one.id.as_str())) == Some(at))
            .map(|(_, one)| *one)
            .collect();
        lines.sort_by_key(|one| one.rank());
        let mut text = String::new();
        let mut resources = BTreeMap::new();
        for one in &lines {
            text.push_str(one.json.get());
            text.push('\n');
            *resources.entry(one.kind.to_owned()).or_insert(0) += 1;
        }
        let sum = hex(digest(&SHA256, text.as_bytes()).as_ref());
        let id = |entry: Option<&(&Carried<'_>, &String)>| entry.map_or(0, |(entry, _)| entry.id);
        let short = sum.get(..12).unwrap_or_default();
        let name = format!("{:012}-{:012}-{short}", id(entries.first()), id(entries.last()));
        let file = format!("{name}.ndjson");
        let entries =
            entries.iter().map(|(entry, sum)| EntryIn { id: entry.id, sha256: (*sum).clone() }).collect();
        let manifest = Manifest {
            format: FORMAT.into(),
            file: file.clone(),
            lines: lines.len(),
            bytes: text.len(),
            sha256: sum,
            resources,
            entries,
        };
        self.place(&file, text.as_bytes())?;
        self.place(&format!("{name}{MANIFEST_END}"), &serde_json::to_vec_pretty(&manifest)?)?;
        Ok(file)
    }

    /// The whole file under its name, on the medium, or none.
    fn place(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let folder = &self.config.folder;
        let part = folder.join(format!(".{name}{PART_END}"));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&part, folder.join(name))?;
            File::open(folder)?.sync_all()
        };
        write().inspect_err(|_| drop(fs::remove_file(&part)))
    }

    /// What finished files hold: entry and sum → file. Also clears away what a crash left unfinished.
    fn there(&self) -> std::io::Result<HashMap<(i64, String), String>> {
        let mut found = HashMap::new();
        for entry in fs::read_dir(&self.config.folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.starts_with('.') && name.ends_with(PART_END) {
                drop(fs::remove_file(&path));
            }
            if !name.ends_with(MANIFEST_END) {
                continue;
            }
            let Some(manifest) = manifest(&path) else { continue };
            let whole = fs::metadata(self.config.folder.join(&manifest.file))
                .is_ok_and(|file| usize::try_from(file.len()).is_ok_and(|bytes| bytes == manifest.bytes));
            if whole && !manifest.file.contains('/') {
                found.extend(
                    manifest.entries.into_iter().map(|one| ((one.id, one.sha256), manifest.file.clone())),
                );
            }
        }
        Ok(found)
    }
}

/// A manifest of ours; anything else on the stick is none of our business.
fn manifest(path: &Path) -> Option<Manifest> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MANIFEST_BYTES).read_to_end(&mut bytes).ok()?;
    read(&bytes)
}

fn read(bytes: &[u8]) -> Option<Manifest> {
    serde_json::from_slice(bytes).ok().filter(|manifest: &Manifest| manifest.format == FORMAT)
}

/// Fuzz body: whatever lies on a stick as a manifest.
pub(super) fn fuzz(bytes: &[u8]) {
    let _manifest = read(bytes);
}

fn sum_of(resources: &[Resource]) -> String {
    let mut seen = HashSet::new();
    let mut context = aws_lc_rs::digest::Context::new(&SHA256);
    for one in resources.iter().filter(|one| seen.insert((one.kind, &one.id))) {
        context.update(one.json.get().as_bytes());
        context.update(b"\n");
    }
    hex(context.finish().as_ref())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn unusable(folder: &Path, fault: &std::io::Error) -> String {
    match fault.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("the stick at {} is full: take it away and put an empty one in", folder.display())
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!("the stick at {} cannot be written: slide its switch, or take another", folder.display())
        }
        ErrorKind::NotFound => format!("the stick at {} was taken away", folder.display()),
        _ => format!("the folder {} cannot be written: {fault}", folder.display()),
    }
}

#[cfg(test)]
#[path = "ndjson_tests.rs"]
mod tests;
