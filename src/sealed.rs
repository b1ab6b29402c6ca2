//! Encrypted files in the format age v1 (<https://age-encryption.org/v1>), so that the stock `age` opens them too. Whoever
//! seals needs no secret: a box that is stolen gives none of its backups away.
//!
//! # Invariants, told as absences
//!
//! - No sealed file has its name before it was written, synced, and read back as it was written.
//! - Nothing of a sealed file is taken for its contents before all of it was opened: one bit changed or cut off is refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use age::secrecy::{ExposeSecret, SecretString};
use aws_lc_rs::digest;
use zeroize::Zeroizing;

/// How every file of the format begins.
const HEAD: &[u8] = b"age-encryption.org/";
/// Largest file of keys or with a passphrase that is read.
const KEYS_MAX: u64 = 64 << 10;

/// What went wrong, in words for a person.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("{} cannot be used: {why}", path.display())]
    Key { path: PathBuf, why: String },
    #[error("the key does not open this backup: it was sealed for another one. Nothing was changed")]
    WrongKey,
    #[error("the encrypted file was changed or cut off since it was made. Nothing was changed")]
    Damaged,
    #[error("what was written to {} reads back otherwise: replace the medium", .0.display())]
    ReadsBackOtherwise(PathBuf),
    #[error("{0}")]
    Other(String),
}

fn disk(path: &Path) -> impl Fn(io::Error) -> SealedError + Copy + '_ {
    move |source| SealedError::Disk { path: path.into(), source }
}

/// For whom a file is sealed.
#[derive(Clone, Debug)]
pub enum Whom {
    /// Public keys, `age1…`.
    Recipients(Vec<String>),
    /// A file whose first line is a passphrase.
    Passphrase(PathBuf),
}

/// With what a file is opened.
#[derive(Clone, Debug)]
pub enum With {
    /// A file of private keys, as `bedside backup-key` or `age-keygen` writes it.
    Identity(PathBuf),
    Passphrase(PathBuf),
}

/// Whether this is a public key.
pub fn is_recipient(text: &str) -> bool {
    text.parse::<age::x25519::Recipient>().is_ok()
}

/// A private key and its public one.
pub fn new_identity() -> (Zeroizing<String>, String) {
    let identity = age::x25519::Identity::generate();
    let secret = Zeroizing::new(identity.to_string().expose_secret().to_owned());
    (secret, identity.to_public().to_string())
}

/// Whether the file is one of this format.
///
/// # Errors
/// It cannot be read.
pub fn is_sealed(path: &Path) -> Result<bool, SealedError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(disk(path))?;
    file.take(HEAD.len() as u64).read_to_end(&mut head).map_err(disk(path))?;
    Ok(head == HEAD)
}

fn passphrase(path: &Path) -> Result<SecretString, SealedError> {
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(disk(path))?;
    file.take(KEYS_MAX).read_to_string(&mut text).map_err(disk(path))?;
    match text.lines().next().map(str::trim).filter(|line| line.chars().count() >= 12) {
        Some(line) => Ok(SecretString::from(line.to_owned())),
        None => {
            let why = "its first line is the passphrase, of at least 12 characters".into();
            Err(SealedError::Key { path: path.into(), why })
        }
    }
}

fn sealing(whom: &Whom) -> Result<age::Encryptor, SealedError> {
    match whom {
        Whom::Passphrase(path) => Ok(age::Encryptor::with_user_passphrase(passphrase(path)?)),
        Whom::Recipients(all) => {
            // A key that was left out would be a backup that its owner cannot open.
            let keys: Result<Vec<age::x25519::Recipient>, _> = all.iter().map(|one| one.parse()).collect();
            let keys =
                keys.map_err(|fault: &str| SealedError::Other(format!("[backup] recipients: {fault}")))?;
            age::Encryptor::with_recipients(keys.iter().map(|key| key as &dyn age::Recipient))
                .map_err(|fault| SealedError::Other(fault.to_string()))
        }
    }
}

/// Counts and sums what goes through.
struct Summed<W> {
    into: W,
    sum: digest::Context,
    bytes: u64,
}

impl<W> Summed<W> {
    fn new(into: W) -> Self {
        Self { into, sum: digest::Context::new(&digest::SHA256), bytes: 0 }
    }

    fn told(self) -> (u64, String) {
        let hex = self.sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        (self.bytes, hex)
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.into.write(bytes)?;
        self.sum.update(bytes.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

/// Length and SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn sum_of(path: &Path) -> Result<(u64, String), SealedError> {
    let mut file = File::open(path).map_err(disk(path))?;
    // From the medium, not from memory; where the kernel cannot, what it has counts.
    let _kept = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let mut summed = Summed::new(io::sink());
    io::copy(&mut file, &mut summed).map_err(disk(path))?;
    Ok(summed.told())
}

/// Seals `plain` as the file `to`, in the place of what was there, and reads it back: its length and SHA-256. What failed is removed.
///
/// # Errors
/// See [`SealedError`].
pub fn seal(plain: &Path, to: &Path, whom: &Whom) -> Result<(u64, String), SealedError> {
    let done = write_sealed(plain, to, whom).and_then(|written| match sum_of(to)? == written {
        true => Ok(written),
        false => Err(SealedError::ReadsBackOtherwise(to.into())),
    });
    if done.is_err() {
        drop(fs::remove_file(to));
    }
    done
}

fn write_sealed(plain: &Path, to: &Path, whom: &Whom) -> Result<(u64, String), SealedError> {
    let fail = disk(to);
    let encryptor = sealing(whom)?;
    let mut from = File::open(plain).map_err(disk(plain))?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to).map_err(fail)?;
    let summed = Summed::new(BufWriter::with_capacity(1 << 20, file));
    let mut sealed = encryptor.wrap_output(summed).map_err(fail)?;
    io::copy(&mut from, &mut sealed).map_err(fail)?;
    let mut summed = sealed.finish().map_err(fail)?;
    summed.flush().map_err(fail)?;
    summed.into.get_ref().sync_all().map_err(fail)?;
    Ok(summed.told())
}

fn identities(with: &With) -> Result<Vec<Box<dyn age::Identity + Send + Sync>>, SealedError> {
    let (path, all) = match with {
        With::Passphrase(path) => {
            return Ok(vec![Box::new(age::scrypt::Identity::new(passphrase(path)?))]);
        }
        With::Identity(path) => {
            let file = File::open(path).map_err(disk(path))?.take(KEYS_MAX);
            let keys = age::IdentityFile::from_buffer(BufReader::new(file));
            (path, keys.map_err(|fault| fault.to_string()))
        }
    };
    let all = all.and_then(|keys| keys.into_identities().map_err(|fault| fault.to_string()));
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => {
            let why = "it holds no private key: it has a line that begins with AGE-SECRET-KEY-1".into();
            Err(SealedError::Key { path: path.clone(), why })
        }
    }
}

/// Opens `sealed` into the file `plain`, in the place of what was there, readable by this user alone. What failed is removed.
///
/// # Errors
/// [`SealedError::WrongKey`], [`SealedError::Damaged`], and those of files.
pub fn open(sealed: &Path, plain: &Path, with: &With) -> Result<(), SealedError> {
    let opened = write_opened(sealed, plain, with);
    if opened.is_err() {
        drop(fs::remove_file(plain));
    }
    opened
}

fn write_opened(sealed: &Path, plain: &Path, with: &With) -> Result<(), SealedError> {
    let keys = identities(with)?;
    let from = BufReader::with_capacity(1 << 20, File::open(sealed).map_err(disk(sealed))?);
    let decryptor = age::Decryptor::new_buffered(from).map_err(refused)?;
    let mut opened =
        decryptor.decrypt(keys.iter().map(|key| key.as_ref() as &dyn age::Identity)).map_err(refused)?;
    let options = &mut OpenOptions::new();
    let file =
        options.write(true).create(true).truncate(true).mode(0o600).open(plain).map_err(disk(plain))?;
    let mut into = BufWriter::with_capacity(1 << 20, file);
    let mut piece = Zeroizing::new(vec![0; 1 << 16]);
    loop {
        let read = opened.read(&mut piece).map_err(|fault| match fault.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => SealedError::Damaged,
            _ => SealedError::Disk { path: sealed.into(), source: fault },
        })?;
        match piece.get(..read) {
            Some(bytes) if read > 0 => into.write_all(bytes).map_err(disk(plain))?,
            _ => break,
        }
    }
    into.flush().and_then(|()| into.get_ref().sync_all()).map_err(disk(plain))
}

fn refused(fault: age::DecryptError) -> SealedError {
    match fault {
        age::DecryptError::NoMatchingKeys | age::DecryptError::KeyDecryptionFailed => SealedError::WrongKey,
        age::DecryptError::DecryptionFailed => SealedError::WrongKey,
        age::DecryptError::ExcessiveWork { .. } => {
            SealedError::Other("the passphrase of this file takes more work than this box does".into())
        }
        _ => SealedError::Damaged,
    }
}

/// Removes the folder with all that is in it when it goes out of use, also after a fault.
#[derive(Debug)]
pub struct Workroom(PathBuf);

impl Workroom {
    /// A folder of that name for this user alone; what a run that was cut short left there goes.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(path: &Path) -> Result<Self, SealedError> {
        use std::os::unix::fs::DirBuilderExt;
        if path.exists() {
            fs::remove_dir_all(path).map_err(disk(path))?;
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(disk(path))?;
        Ok(Self(path.into()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Workroom {
    fn drop(&mut self) {
        // What stays after a fault of the disk is removed at the next start.
        drop(fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_alone_and_not_with_a_bit_changed_or_an_end_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (secret, public) = new_identity();
        fs::write(at("key"), secret.as_str()).unwrap();
        fs::write(at("other"), new_identity().0.as_str()).unwrap();
        let plain = b"CANARY patient ".repeat(20_000);
        fs::write(at("plain"), &plain).unwrap();
        let sum = seal(&at("plain"), &at("sealed"), &Whom::Recipients(vec![public])).unwrap();
        assert_eq!(sum, sum_of(&at("sealed")).unwrap());
        assert!(is_sealed(&at("sealed")).unwrap() && !is_sealed(&at("plain")).unwrap());
        let sealed = fs::read(at("sealed")).unwrap();
        assert!(!sealed.windows(6).any(|six| six == b"CANARY"));
        let with = |name: &str| With::Identity(at(name));
        open(&at("sealed"), &at("opened"), &with("key")).unwrap();
        assert_eq!(fs::read(at("opened")).unwrap(), plain);
        let wrong = open(&at("sealed"), &at("no"), &with("other")).unwrap_err();
        assert!(matches!(wrong, SealedError::WrongKey), "{wrong}");
        for cut in [sealed.len() - 1, sealed.len() / 2, 300] {
            fs::write(at("cut"), &sealed[..cut]).unwrap();
            let fault = open(&at("cut"), &at("no"), &with("key")).unwrap_err();
            assert!(matches!(fault, SealedError::Damaged), "{cut}: {fault}");
        }
        for flip in [sealed.len() - 1, sealed.len() / 2, 260] {
            let mut bytes = sealed.clone();
            bytes[flip] ^= 1;
            fs::write(at("flipped"), bytes).unwrap();
            open(&at("flipped"), &at("no"), &with("key")).unwrap_err();
        }
        assert!(!at("no").exists(), "nothing of what was refused stays");
    }

    #[test]
    fn a_passphrase_seals_and_opens_and_a_short_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("phrase"), "twelve letters and more\n").unwrap();
        fs::write(at("short"), "short\n").unwrap();
        fs::write(at("plain"), "hello").unwrap();
        let unknown = Whom::Recipients(vec![new_identity().1, "age1nobody".into()]);
        assert!(seal(&at("plain"), &at("x"), &unknown).is_err(), "no recipient is left out in silence");
        seal(&at("plain"), &at("sealed"), &Whom::Passphrase(at("phrase"))).unwrap();
        open(&at("sealed"), &at("opened"), &With::Passphrase(at("phrase"))).unwrap();
        assert_eq!(fs::read(at("opened")).unwrap(), b"hello");
        assert!(seal(&at("plain"), &at("x"), &Whom::Passphrase(at("short"))).is_err());
    }
}
