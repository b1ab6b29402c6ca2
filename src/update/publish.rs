//! What a publisher does, on a computer of their own: keys, roots, releases. Nothing here is used by a box.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use serde::Serialize;
use serde_json::value::RawValue;

use super::archive::{Builder, Name, architecture_of};
use super::metadata::{Key, Role, Roles, Signature, hex, keyid};
use super::slots::{read_short, sum_of};
use super::{Newest, Release, Root, Target, UpdateError};
use crate::secret::{self, Secret};

/// A private key, as PKCS #8 in a file only its owner can read.
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl Signer {
    /// Makes a key pair and its file.
    ///
    /// # Errors
    /// [`UpdateError::Disk`], also when the file is there already.
    pub fn make(path: &Path) -> Result<Self, UpdateError> {
        let path = &std::path::absolute(path).map_err(UpdateError::disk(path))?;
        let failed = |_| UpdateError::NotNow("the system gave no random bytes".into());
        let pair = Ed25519KeyPair::generate().map_err(failed)?;
        let document = pair.to_pkcs8().map_err(failed)?;
        secret::write_new(path, &Secret::new(document.as_ref().to_vec())).map_err(UpdateError::disk(path))?;
        Ok(Self { pair })
    }

    /// # Errors
    /// [`UpdateError::Disk`], [`UpdateError::Metadata`] when it is no such key.
    pub fn load(path: &Path) -> Result<Self, UpdateError> {
        let bytes = read_short(path).map(Secret::new).map_err(UpdateError::disk(path))?;
        let pair = Ed25519KeyPair::from_pkcs8(bytes.expose());
        pair.map(|pair| Self { pair })
            .map_err(|_| UpdateError::Metadata(format!("{} is no Ed25519 key of this form", path.display())))
    }

    /// 64 hexadecimal digits, to hand to whoever makes the root.
    pub fn public(&self) -> String {
        hex(self.pair.public_key().as_ref())
    }

    pub fn keyid(&self) -> String {
        keyid(self.pair.public_key().as_ref())
    }

    fn sign(&self, message: &[u8]) -> Signature {
        Signature { keyid: self.keyid(), sig: hex(self.pair.sign(message).as_ref()) }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    signed: &'a RawValue,
    signatures: Vec<Signature>,
}

/// Signed metadata as it goes into a file.
///
/// # Errors
/// [`UpdateError::Metadata`].
pub(super) fn signed(what: &impl Serialize, signers: &[Signer]) -> Result<Vec<u8>, UpdateError> {
    let unreadable = |why: serde_json::Error| UpdateError::Metadata(why.to_string());
    let text = serde_json::value::to_raw_value(what).map_err(unreadable)?;
    let signatures = signers.iter().map(|signer| signer.sign(text.get().as_bytes())).collect();
    let mut bytes = serde_json::to_vec(&Written { signed: &text, signatures }).map_err(unreadable)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A root to be.
#[derive(Clone, Debug)]
pub struct NewRoot {
    pub version: u64,
    pub expires: String,
    /// Public keys, 64 hexadecimal digits each, and how many must sign.
    pub root_keys: Vec<String>,
    pub root_threshold: usize,
    pub release_keys: Vec<String>,
    pub release_threshold: usize,
}

/// A signed root. `before`: the root it follows, which must have said who may.
///
/// # Errors
/// [`UpdateError::Metadata`]; [`UpdateError::Signature`] when boxes would not take it.
pub fn root(new: &NewRoot, before: Option<&Root>, signers: &[Signer]) -> Result<Vec<u8>, UpdateError> {
    let mut keys = BTreeMap::new();
    let mut role = |public: &[String], threshold| {
        let named = |text: &String| {
            let id = super::metadata::keyid_of(text)?;
            keys.insert(id.clone(), Key { ed25519: text.clone() });
            Some(id)
        };
        let names: Option<Vec<String>> = public.iter().map(named).collect();
        let names = names.ok_or_else(|| {
            UpdateError::Metadata("a public key is 64 hexadecimal digits in small letters".into())
        })?;
        Ok::<_, UpdateError>(Role { keys: names, threshold })
    };
    let roles = Roles {
        root: role(&new.root_keys, new.root_threshold)?,
        release: role(&new.release_keys, new.release_threshold)?,
    };
    let root = Root::new(new.version, new.expires.clone(), keys, roles);
    root.check()?;
    let bytes = signed(&root, signers)?;
    match before {
        Some(before) => before.next(&bytes)?,
        None => Root::anchor(&bytes)?,
    };
    Ok(bytes)
}

/// A release to be.
#[derive(Clone, Debug)]
pub struct NewRelease {
    pub version: u64,
    pub expires: String,
    pub product: String,
    pub schema: i64,
    /// Files called `bedside-<architecture>`.
    pub programs: Vec<PathBuf>,
}

/// Writes an update file. `roots`: all of them, from the first one on.
///
/// # Errors
/// [`UpdateError::Disk`], [`UpdateError::Metadata`]; [`UpdateError::Signature`] when boxes would not take it.
pub fn release(
    new: &NewRelease,
    roots: &[Vec<u8>],
    signers: &[Signer],
    to: &Path,
) -> Result<Release, UpdateError> {
    let mut programs: Vec<(Target, &Path)> = new
        .programs
        .iter()
        .map(|path| Ok((target(path)?, path.as_path())))
        .collect::<Result<_, UpdateError>>()?;
    programs.sort_by(|(a, _), (b, _)| a.architecture.cmp(&b.architecture));
    let targets = programs.iter().map(|(target, _)| target.clone()).collect();
    let release = Release::new(new.version, new.expires.clone(), new.product.clone(), new.schema, targets);
    release.check()?;
    let bytes = signed(&release, signers)?;
    last(roots)?.release(&bytes)?;
    let fail = UpdateError::disk(to);
    let file = File::create_new(to).map_err(fail)?;
    let written = (|| {
        let mut archive = Builder::new(&file);
        for (root, version) in roots.iter().zip(1..) {
            archive.add(&Name::Root(version), root.len() as u64, &mut root.as_slice())?;
        }
        archive.add(&Name::Release, bytes.len() as u64, &mut bytes.as_slice())?;
        for (target, path) in &programs {
            let name = Name::Program(target.architecture.clone());
            archive.add(&name, target.length, &mut File::open(path)?)?;
        }
        archive.end()?.flush()?;
        file.sync_all()
    })();
    if written.is_err() {
        // What is half an update must not be taken for one.
        drop(std::fs::remove_file(to));
    }
    written.map_err(fail)?;
    Ok(release)
}

/// Writes `newest.json` beside an update file, for a web server's folder: where boxes look first. Copy the update file
/// there before it.
///
/// # Errors
/// Those of [`release`].
pub fn newest(
    release: &Release,
    roots: &[Vec<u8>],
    signers: &[Signer],
    update: &Path,
) -> Result<PathBuf, UpdateError> {
    let unreadable = |why: serde_json::Error| UpdateError::Metadata(why.to_string());
    let file = update.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let sum = sum_of(update, super::metadata::UPDATE_MAX).map_err(UpdateError::disk(update))?;
    let newest = Newest::of(release, file, sum);
    newest.check()?;
    let bytes = signed(&newest, signers)?;
    last(roots)?.newest(&bytes)?;
    let raw = |bytes: &[u8]| serde_json::from_slice::<Box<RawValue>>(bytes).map_err(unreadable);
    let roots = roots.iter().map(|root| raw(root)).collect::<Result<Vec<_>, _>>()?;
    let folder = WrittenFolder { roots, newest: raw(&bytes)? };
    let (path, part) = (update.with_file_name("newest.json"), update.with_file_name("newest.json.part"));
    let text = serde_json::to_vec(&folder).map_err(unreadable)?;
    std::fs::write(&part, text)
        .and_then(|()| std::fs::rename(&part, &path))
        .map_err(UpdateError::disk(&path))?;
    Ok(path)
}

#[derive(Serialize)]
struct WrittenFolder {
    roots: Vec<Box<RawValue>>,
    newest: Box<RawValue>,
}

/// The root that a publisher's roots lead to; the first is number 1.
///
/// # Errors
/// [`UpdateError::Signature`], [`UpdateError::Metadata`].
pub fn last(roots: &[Vec<u8>]) -> Result<Root, UpdateError> {
    let (first, rest) = roots
        .split_first()
        .ok_or_else(|| UpdateError::Metadata("there is no root: bedside update root".into()))?;
    let root = Root::anchor(first)?;
    if root.version != 1 {
        return Err(UpdateError::Metadata("the first root is number 1".into()));
    }
    rest.iter().try_fold(root, |root, next| root.next(next))
}

fn target(path: &Path) -> Result<Target, UpdateError> {
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let architecture = architecture_of(&file)
        .ok_or_else(|| {
            UpdateError::Metadata(format!("{}: a program is called bedside-<architecture>", path.display()))
        })?
        .to_owned();
    let (length, sha256) = sum_of(path, super::metadata::PROGRAM_MAX).map_err(UpdateError::disk(path))?;
    Ok(Target { architecture, file, length, sha256 })
}
