//! Watches the built web pages: a release without them is an error, not a silent gap. And writes down what the program is
//! made of: the list behind `bedside sbom`, the licence texts, and the section `.dep-v0` that `cargo audit bin` reads.
//!
//! Nothing here uses the network: `cargo tree --offline` resolves as the build itself does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    for path in ["web/dist", "firmware-profiles", "Cargo.toml", "Cargo.lock", "build.rs"] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-env-changed=BEDSIDE_ALLOW_NO_DESK");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rustc-env=BEDSIDE_TARGET={}", var("TARGET"));
    println!("cargo:rustc-env=BEDSIDE_MADE={}", var("SOURCE_DATE_EPOCH"));
    desk();
    if let Err(reason) = shelf(Path::new("firmware-profiles")) {
        println!("cargo:error=the firmware profiles cannot be packed: {reason}");
    }
    if let Err(reason) = parts() {
        println!("cargo:error=what the program is made of cannot be listed: {reason}");
    }
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn is_release() -> bool {
    var("PROFILE") == "release"
}

fn desk() {
    if Path::new("web/dist/index.html").exists() {
        return;
    }
    if is_release() && env::var_os("BEDSIDE_ALLOW_NO_DESK").is_none() {
        println!("cargo:error=the desk's pages are not built: run `npm ci --prefix web`, then build again");
        return;
    }
    println!(
        "cargo:warning=the desk's pages are not built: run `npm ci --prefix web` (the desk says so until then)"
    );
}

/// Every file of the firmware profiles, each packed by itself: u16 length of the path, path, u32 length of what is packed,
/// and that (zlib). Both numbers are big-endian; the files stand in the order of their paths.
fn shelf(folder: &Path) -> Result<(), String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).map_err(|fault| format!("{}: {fault}", inner.display()))? {
            let path = entry.map_err(|fault| fault.to_string())?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let told = |fault: &dyn std::fmt::Display| format!("{}: {fault}", path.display());
        let name = path.strip_prefix(folder).map_err(|fault| told(&fault))?.to_string_lossy().into_owned();
        let packed = fs::read(&path).and_then(|bytes| packed(&bytes)).map_err(|fault| told(&fault))?;
        all.extend(u16::try_from(name.len()).map_err(|fault| told(&fault))?.to_be_bytes());
        all.extend(name.as_bytes());
        all.extend(u32::try_from(packed.len()).map_err(|fault| told(&fault))?.to_be_bytes());
        all.extend(packed);
    }
    fs::write(PathBuf::from(var("OUT_DIR")).join("firmware-profiles.packed"), all)
        .map_err(|fault| fault.to_string())
}

/// Something the program is made of, or is made with.
#[derive(Default)]
struct Part {
    /// `cargo`, `npm`, or `generic` for what is neither.
    ecosystem: &'static str,
    name: String,
    version: String,
    licence: String,
    repository: String,
    sha256: String,
    /// Its code is in the program; else it only helped to build it.
    shipped: bool,
    needs: BTreeSet<(String, String)>,
}

type Parts = BTreeMap<(String, String), Part>;

fn parts() -> Result<(), String> {
    let out = PathBuf::from(var("OUT_DIR"));
    let mut crates = Parts::new();
    graph(&mut crates, "normal,build", false)?;
    graph(&mut crates, "normal,no-proc-macro", true)?;
    checksums(&mut crates)?;
    let sources = sources(&crates);
    let written = |name: &str, bytes: &[u8]| {
        packed(bytes)
            .and_then(|bytes| fs::write(out.join(name), bytes))
            .map_err(|fault| format!("{name}: {fault}"))
    };
    written("auditable.json.z", auditable(&crates).as_bytes())?;
    written("notices.txt.z", notices(&crates, &sources).as_bytes())?;
    written("parts.tsv.z", table(&crates, &others(&out, &sources)).as_bytes())?;
    section(&out);
    Ok(())
}

fn packed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// What cargo resolves for this target and these features along `edges`: one line a package, indented by a number.
fn graph(parts: &mut Parts, edges: &str, shipped: bool) -> Result<(), String> {
    let features: Vec<String> = env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-")))
        .collect();
    let said = Command::new(var("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix", "depth", "--no-default-features"])
        .args(["--edges", edges, "--target", &var("TARGET"), "--features", &features.join(",")])
        .args(["--format", "\t{p}\t{l}\t{r}\t", "--manifest-path"])
        .arg(Path::new(&var("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .map_err(|fault| format!("cargo tree: {fault}"))?;
    if !said.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&said.stderr).trim()));
    }
    let mut above: Vec<(String, String)> = Vec::new();
    for line in String::from_utf8_lossy(&said.stdout).lines() {
        let mut columns = line.split('\t');
        let depth: usize = columns.next().and_then(|n| n.parse().ok()).ok_or_else(|| line.to_owned())?;
        let mut words = columns.next().unwrap_or_default().split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        let version = words.next().unwrap_or_default().trim_start_matches('v').to_owned();
        let key = (name.clone(), version.clone());
        above.truncate(depth);
        if let Some(part) = above.last().and_then(|parent| parts.get_mut(parent)) {
            part.needs.insert(key.clone());
        }
        let part = parts.entry(key.clone()).or_insert_with(|| Part { name, version, ..Part::default() });
        part.ecosystem = "cargo";
        part.licence = columns.next().unwrap_or_default().replace('/', " OR ").replace("  ", " ");
        part.repository = columns.next().unwrap_or_default().to_owned();
        part.shipped |= shipped;
        above.push(key);
    }
    Ok(())
}

/// The SHA-256 of each crate as the lock file has it.
fn checksums(parts: &mut Parts) -> Result<(), String> {
    let lock = fs::read_to_string("Cargo.lock").map_err(|fault| format!("Cargo.lock: {fault}"))?;
    for package in lock.split("[[package]]").skip(1) {
        let said = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
            line.strip_suffix('"').map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(sum)) = (said("name"), said("version"), said("checksum"))
            && let Some(part) = parts.get_mut(&(name, version))
        {
            part.sha256 = sum;
        }
    }
    Ok(())
}

/// Where the sources of each crate lie on this machine, as far as they are found.
fn sources(parts: &Parts) -> BTreeMap<(String, String), PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
        .unwrap_or_default();
    let registries: Vec<PathBuf> = fs::read_dir(home.join("registry/src"))
        .map(|folder| folder.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    let of = |(name, version): &(String, String)| {
        let folder = format!("{name}-{version}");
        registries.iter().map(|registry| registry.join(&folder)).find(|path| path.is_dir())
    };
    parts.keys().filter_map(|key| Some((key.clone(), of(key)?))).collect()
}

/// What is in the program and is no crate: the packages in the desk's pages, the C libraries some crates bring, the
/// standard library, and the C library of a static build.
fn others(out: &Path, sources: &BTreeMap<(String, String), PathBuf>) -> Vec<Part> {
    let mut found = Vec::new();
    let notices = fs::read_to_string("web/dist/licences.txt").unwrap_or_default();
    for notice in notices.split(&format!("{}\n\n", "-".repeat(80))).skip(1) {
        let head = notice.lines().next().unwrap_or_default().trim_end_matches(')');
        if let Some((package, licence)) = head.split_once(" (")
            && let Some((name, version)) = package.split_once(' ')
        {
            found.push(other("npm", name, version, licence));
        }
    }
    let within = |of: &str, file: &str, word: &str| {
        let folder = sources.iter().find(|((name, _), _)| name == of)?.1;
        let text = fs::read_to_string(folder.join(file)).ok()?;
        let line = text.lines().find(|line| line.starts_with("#define ") && line.contains(word))?;
        line.split('"').nth(1).map(str::to_owned)
    };
    if let Some(version) = within("libsqlite3-sys", "sqlite3/sqlite3.h", " SQLITE_VERSION ") {
        found.push(other("generic", "sqlite", &version, "blessing"));
    }
    let header = "aws-lc/include/openssl/base.h";
    if let Some(version) = within("aws-lc-sys", header, "AWSLC_VERSION_NUMBER_STRING ") {
        found.push(other("generic", "aws-lc", &version, "ISC AND Apache-2.0"));
    }
    let rustc =
        Command::new(var("RUSTC")).arg("--version").output().map(|said| said.stdout).unwrap_or_default();
    if let Some(version) = String::from_utf8_lossy(&rustc).split(' ').nth(1) {
        found.push(other("generic", "rust-std", version, "MIT OR Apache-2.0"));
    }
    if let Some(version) = glibc(out) {
        found.push(other("generic", "glibc", &version, "LGPL-2.1-or-later"));
    }
    found
}

fn other(ecosystem: &'static str, name: &str, version: &str, licence: &str) -> Part {
    Part {
        ecosystem,
        name: name.to_owned(),
        version: version.to_owned(),
        licence: licence.to_owned(),
        shipped: true,
        ..Part::default()
    }
}

/// The version of the C library whose code is linked into a static program.
fn glibc(out: &Path) -> Option<String> {
    if var("CARGO_CFG_TARGET_ENV") != "gnu" || !var("CARGO_CFG_TARGET_FEATURE").contains("crt-static") {
        return None;
    }
    let asking = out.join("libc.c");
    fs::write(&asking, "#include <features.h>\nBEDSIDE_GLIBC __GLIBC__ __GLIBC_MINOR__\n").ok()?;
    let said = cc::Build::new().cargo_metadata(false).file(asking).try_expand().ok()?;
    // The preprocessor puts lines of its own between the words.
    let said = String::from_utf8(said).ok()?;
    let words = said.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    let found: Vec<&str> = words.skip_while(|word| *word != "BEDSIDE_GLIBC").skip(1).take(2).collect();
    (found.len() == 2).then(|| found.join("."))
}

/// `kind, ecosystem, name, version, licence, repository, sha256, needs`; needs are numbers of rows.
fn table(crates: &Parts, others: &[Part]) -> String {
    let row: BTreeMap<_, _> = crates.keys().enumerate().map(|(row, key)| (key, row)).collect();
    let mut text = String::new();
    for part in crates.values().chain(others) {
        let needs: Vec<String> =
            part.needs.iter().filter_map(|key| Some(row.get(key)?.to_string())).collect();
        let kind = if part.shipped { "shipped" } else { "build" };
        let Part { ecosystem, name, version, licence, repository, sha256, .. } = part;
        let needs = needs.join(",");
        text.push_str(&format!(
            "{kind}\t{ecosystem}\t{name}\t{version}\t{licence}\t{repository}\t{sha256}\t{needs}\n"
        ));
    }
    text
}

/// The notices that lie in each shipped crate; a text that several have stands once.
fn notices(crates: &Parts, sources: &BTreeMap<(String, String), PathBuf>) -> String {
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut silent = Vec::new();
    for (key, part) in crates.iter().filter(|(_, part)| part.shipped && !part.sha256.is_empty()) {
        let head = format!("{} {} ({})", part.name, part.version, part.licence);
        let files =
            sources.get(key).and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        let mut found = false;
        for file in files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file())) {
            let name = file.file_name().to_string_lossy().to_lowercase();
            if ["licen", "copying", "notice", "copyright", "unlicense"].iter().any(|w| name.starts_with(w))
                && let Ok(text) = fs::read_to_string(file.path())
            {
                texts.entry(text.replace("\r\n", "\n").trim().to_owned()).or_default().insert(head.clone());
                found = true;
            }
        }
        if !found {
            silent.push(head);
        }
    }
    let rule = "-".repeat(80);
    let mut all = String::from("This program contains code of these crates.\n");
    for (text, heads) in texts {
        let heads: Vec<String> = heads.into_iter().collect();
        all.push_str(&format!("\n{rule}\n\n{}\n\n{text}\n", heads.join("\n")));
    }
    if !silent.is_empty() {
        all.push_str(&format!("\n{rule}\n\nWithout a notice of their own:\n\n{}\n", silent.join("\n")));
    }
    all
}

/// The list in the form of cargo-auditable: <https://github.com/rust-secure-code/cargo-auditable>, `PARSING.md`.
fn auditable(crates: &Parts) -> String {
    let row: BTreeMap<_, _> = crates.keys().enumerate().map(|(row, key)| (key, row)).collect();
    let packages: Vec<String> = crates
        .values()
        .map(|part| {
            let needs: Vec<String> =
                part.needs.iter().filter_map(|key| Some(row.get(key)?.to_string())).collect();
            let local = part.sha256.is_empty();
            let source = if local { "local" } else { "crates.io" };
            let kind = if part.shipped { "" } else { r#","kind":"build""# };
            let needs = match needs.is_empty() {
                true => String::new(),
                false => format!(r#","dependencies":[{}]"#, needs.join(",")),
            };
            let root = if local { r#","root":true"# } else { "" };
            let (name, version) = (&part.name, &part.version);
            format!(r#"{{"name":"{name}","version":"{version}","source":"{source}"{kind}{needs}{root}}}"#)
        })
        .collect();
    format!(r#"{{"packages":[{}]}}"#, packages.join(","))
}

/// Links the list into the program, where scanners look for it.
fn section(out: &Path) {
    let list = out.join("auditable.json.z");
    let source = out.join("auditable.S");
    let text = format!(
        ".section .dep-v0,\"\",%progbits\n.incbin \"{}\"\n.section .note.GNU-stack,\"\",%progbits\n",
        list.display()
    );
    let made = fs::write(&source, text).map_err(|fault| fault.to_string()).and_then(|()| {
        let mut build = cc::Build::new();
        build
            .cargo_metadata(false)
            .file(&source)
            .try_compile_intermediates()
            .map_err(|fault| fault.to_string())
    });
    match made {
        Ok(objects) => {
            for object in objects {
                println!("cargo:rustc-link-arg-bins={}", object.display());
            }
        }
        Err(reason) if is_release() => println!("cargo:error=no section for scanners: {reason}"),
        Err(reason) => println!("cargo:warning=no section for scanners: {reason}"),
    }
}
