//! The one file an update comes in: an uncompressed tar (POSIX.1-1988 `ustar`) of a fixed form, read as a stream.
//!
//! A full tar library reads links, sparse files, long names and owners: all things an update never has, and each a way to
//! write where nothing should be written. So only this much is read, in this order, and nothing else:
//! `root/1.json` … ascending, `release.json`, `bedside-<architecture>` ascending, two empty blocks. `tar tf` shows it.

use std::io::{Read, Write};

use super::UpdateError;
use super::metadata::{METADATA_MAX, PROGRAM_MAX};

const BLOCK: usize = 512;
/// Most files in an archive.
const MEMBERS_MAX: u32 = 128;
/// GNU tar fills up to 20 blocks; so much and no more may follow the end.
const TRAILING_MAX: u32 = 40;
const PREFIX: &str = "bedside-";

/// What may be in an archive, in the order in which it must stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Root(u64),
    Release,
    /// A program for this architecture.
    Program(String),
}

/// The architecture a program's file name tells.
pub fn architecture_of(file: &str) -> Option<&str> {
    let architecture = file.strip_prefix(PREFIX)?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    ((1..=16).contains(&architecture.len()) && architecture.bytes().all(plain)).then_some(architecture)
}

impl Name {
    fn read(text: &str) -> Option<Self> {
        if text == "release.json" {
            return Some(Self::Release);
        }
        if let Some(number) = text.strip_prefix("root/").and_then(|rest| rest.strip_suffix(".json")) {
            let version: u64 = number.parse().ok().filter(|_| number.len() <= 9)?;
            return (version.to_string() == number && version > 0).then_some(Self::Root(version));
        }
        architecture_of(text).map(|architecture| Self::Program(architecture.to_owned()))
    }

    fn text(&self) -> String {
        match self {
            Self::Root(version) => format!("root/{version}.json"),
            Self::Release => "release.json".into(),
            Self::Program(architecture) => format!("{PREFIX}{architecture}"),
        }
    }

    const fn longest(&self) -> u64 {
        match self {
            Self::Root(_) | Self::Release => METADATA_MAX as u64,
            Self::Program(_) => PROGRAM_MAX,
        }
    }
}

fn refused(why: impl Into<String>) -> UpdateError {
    UpdateError::Archive(why.into())
}

/// The files of an archive, one after the other.
pub struct Archive<R> {
    input: R,
    members: u32,
    last: Option<Name>,
    /// Bytes of the present file that were not read, and the zeros after it.
    left: u64,
    padding: usize,
    ended: bool,
}

impl<R: Read> Archive<R> {
    pub const fn new(input: R) -> Self {
        Self { input, members: 0, last: None, left: 0, padding: 0, ended: false }
    }

    /// The next file and its length; the one before must have been read to its end.
    ///
    /// # Errors
    /// [`UpdateError::Archive`].
    pub fn member(&mut self) -> Result<Option<(Name, u64)>, UpdateError> {
        if self.ended {
            return Ok(None);
        }
        if self.left > 0 {
            return Err(refused("a file in it was not read"));
        }
        self.zeros()?;
        let block = self.block()?;
        if block.iter().all(|byte| *byte == 0) {
            self.end()?;
            return Ok(None);
        }
        self.members += 1;
        if self.members > MEMBERS_MAX {
            return Err(refused("it holds more files than an update has"));
        }
        let (name, length) = header(&block)?;
        if self.last.as_ref().is_some_and(|last| *last >= name) {
            return Err(refused(format!("{} stands twice or out of its order", name.text())));
        }
        if length > name.longest() {
            return Err(refused(format!("{} is larger than is taken", name.text())));
        }
        self.last = Some(name.clone());
        self.left = length;
        let past = usize::try_from(length % BLOCK as u64).unwrap_or(0);
        self.padding = (BLOCK - past) % BLOCK;
        Ok(Some((name, length)))
    }

    /// The next bytes of the present file; none at its end.
    ///
    /// # Errors
    /// [`UpdateError::Archive`] when the archive ends in it.
    pub fn piece<'a>(&mut self, into: &'a mut [u8]) -> Result<&'a [u8], UpdateError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let Some(room) = into.get_mut(..most).filter(|room| !room.is_empty()) else { return Ok(&[]) };
        let read = self.input.read(room).map_err(|fault| refused(fault.to_string()))?;
        if read == 0 {
            return Err(refused("it is cut off"));
        }
        self.left -= read as u64;
        Ok(room.get(..read).unwrap_or_default())
    }

    /// All of the present file, which is metadata.
    ///
    /// # Errors
    /// As [`piece`](Self::piece).
    pub fn whole(&mut self) -> Result<Vec<u8>, UpdateError> {
        let (mut all, mut room) = (Vec::new(), [0; 4096]);
        loop {
            let piece = self.piece(&mut room)?;
            if piece.is_empty() {
                return Ok(all);
            }
            if all.len() + piece.len() > METADATA_MAX {
                return Err(refused("metadata is larger than is taken"));
            }
            all.extend_from_slice(piece);
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK], UpdateError> {
        let mut block = [0; BLOCK];
        self.input.read_exact(&mut block).map_err(|_| refused("it is cut off"))?;
        Ok(block)
    }

    fn zeros(&mut self) -> Result<(), UpdateError> {
        let mut block = [0; BLOCK];
        let Some(room) = block.get_mut(..self.padding) else { return Ok(()) };
        self.input.read_exact(room).map_err(|_| refused("it is cut off"))?;
        self.padding = 0;
        if room.iter().any(|byte| *byte != 0) {
            return Err(refused("there is something between two files"));
        }
        Ok(())
    }

    /// After the first empty block: another, and then nothing but a few more.
    fn end(&mut self) -> Result<(), UpdateError> {
        self.ended = true;
        if self.block()?.iter().any(|byte| *byte != 0) {
            return Err(refused("there is something after its end"));
        }
        let mut room = [0; BLOCK];
        for _ in 0..TRAILING_MAX {
            let read = self.input.read(&mut room).map_err(|fault| refused(fault.to_string()))?;
            if read == 0 {
                return Ok(());
            }
            if room.iter().take(read).any(|byte| *byte != 0) {
                return Err(refused("there is something after its end"));
            }
        }
        Err(refused("it does not end"))
    }
}

/// Fields of a `ustar` header: offset and length.
const NAME: (usize, usize) = (0, 100);
const SIZE: (usize, usize) = (124, 12);
const SUM: (usize, usize) = (148, 8);
const KIND: (usize, usize) = (156, 1);
const LINK: (usize, usize) = (157, 100);
const MAGIC: (usize, usize) = (257, 8);
const NAME_PREFIX: (usize, usize) = (345, 155);

fn field(block: &[u8; BLOCK], (at, length): (usize, usize)) -> &[u8] {
    block.get(at..at + length).unwrap_or_default()
}

fn octal(digits: &[u8]) -> Option<u64> {
    let end = digits.iter().position(|b| !(b'0'..=b'7').contains(b)).unwrap_or(digits.len());
    let (number, rest) = digits.split_at_checked(end)?;
    if number.is_empty() || rest.iter().any(|b| *b != 0 && *b != b' ') {
        return None;
    }
    number.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(8)?.checked_add(u64::from(digit - b'0')))
}

fn sum_of(block: &[u8; BLOCK]) -> u64 {
    let own = SUM.0..SUM.0 + SUM.1;
    block.iter().enumerate().map(|(at, b)| if own.contains(&at) { 32 } else { u64::from(*b) }).sum()
}

fn header(block: &[u8; BLOCK]) -> Result<(Name, u64), UpdateError> {
    if field(block, MAGIC) != b"ustar\x0000" {
        return Err(refused("it is no tar of the form ustar"));
    }
    if octal(field(block, SUM)) != Some(sum_of(block)) {
        return Err(refused("a header's check sum is wrong"));
    }
    let empty = |part| field(block, part).iter().all(|byte| *byte == 0);
    if field(block, KIND) != b"0" || !empty(LINK) {
        return Err(refused("it holds something that is no plain file"));
    }
    let name = field(block, NAME);
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let (text, rest) = name.split_at_checked(end).unwrap_or_default();
    let text = std::str::from_utf8(text).ok().filter(|_| rest.iter().all(|byte| *byte == 0));
    let name = text.filter(|_| empty(NAME_PREFIX)).and_then(Name::read).ok_or_else(|| {
        refused("it holds a name that an update has not (root/N.json, release.json, bedside-<architecture>)")
    })?;
    let length = octal(field(block, SIZE)).ok_or_else(|| refused("a file's length is no number"))?;
    Ok((name, length))
}

/// Writes an archive of this form.
pub struct Builder<W> {
    output: W,
}

impl<W: Write> Builder<W> {
    pub const fn new(output: W) -> Self {
        Self { output }
    }

    /// Adds a file.
    ///
    /// # Errors
    /// Those of the output; a body that is not `length` bytes long.
    pub fn add(&mut self, name: &Name, length: u64, body: &mut dyn Read) -> std::io::Result<()> {
        self.output.write_all(&written(&name.text(), length))?;
        let copied = std::io::copy(&mut body.take(length), &mut self.output)?;
        if copied != length {
            return Err(std::io::Error::other("the file changed while it was read"));
        }
        let past = usize::try_from(length % BLOCK as u64).unwrap_or(0);
        self.output.write_all([0; BLOCK].get(..(BLOCK - past) % BLOCK).unwrap_or_default())
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Those of the output.
    pub fn end(mut self) -> std::io::Result<W> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()?;
        Ok(self.output)
    }
}

fn written(name: &str, length: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |(at, room): (usize, usize), text: &[u8]| {
        let text = text.get(..room.min(text.len())).unwrap_or_default();
        if let Some(place) = block.get_mut(at..at + text.len()) {
            place.copy_from_slice(text);
        }
    };
    put(NAME, name.as_bytes());
    put((100, 8), b"0000644\0");
    put((108, 8), b"0000000\0");
    put((116, 8), b"0000000\0");
    put(SIZE, format!("{length:011o}\0").as_bytes());
    put((136, 12), b"00000000000\0");
    put(KIND, b"0");
    put(MAGIC, b"ustar\x0000");
    let sum = format!("{:06o}\0 ", sum_of(&block));
    if let Some(place) = block.get_mut(SUM.0..SUM.0 + SUM.1) {
        place.copy_from_slice(sum.as_bytes());
    }
    block
}

/// Fuzz body: an archive is read to its end or refused, its names in order and its files no larger than they may be.
pub fn fuzz(bytes: &[u8]) {
    let mut archive = Archive::new(bytes);
    let (mut room, mut total) = ([0; 700], 0);
    while let Ok(Some((name, length))) = archive.member() {
        assert!(length <= name.longest(), "longer than it may be");
        loop {
            match archive.piece(&mut room) {
                Ok([]) => break,
                Ok(piece) => total += piece.len(),
                Err(_) => return,
            }
        }
    }
    assert!(total <= bytes.len(), "more came out than went in");
}
