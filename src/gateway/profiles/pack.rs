//! A profile's folder as one file to hand on: POSIX ustar (IEEE Std 1003.1, pax), compressed.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Profiles;
use crate::admin::command::Refusal;
use crate::firmware_profile::Library;

const BLOCK: usize = 512;

impl Profiles {
    pub(super) fn packed(&self, id: &str) -> Result<Vec<u8>, Refusal> {
        let page = self.shelf.library().page(id).ok_or(Refusal::Unknown)?;
        let mut files = Library::files(id);
        files.retain(|(name, _)| name != "profile.toml");
        files.insert(0, ("profile.toml".into(), page.as_bytes().to_vec()));
        let at = self.clock.now().micros.div_euclid(1_000_000);
        pack(files.iter().map(|(name, file)| (format!("{id}/{name}"), file.as_slice())), at)
            .map_err(|fault| Refusal::Failed(fault.to_string()))
    }
}

/// Files by path, as `.tar.gz`. `at`: seconds since 1970.
fn pack<'a>(files: impl Iterator<Item = (String, &'a [u8])>, at: i64) -> std::io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    for (path, file) in files {
        packed.write_all(&header(&path, file.len(), at)?)?;
        packed.write_all(file)?;
        let rest = file.len() % BLOCK;
        if rest > 0 {
            packed.write_all(&vec![0; BLOCK - rest])?;
        }
    }
    packed.write_all(&[0; 2 * BLOCK])?;
    packed.finish()
}

/// The header block of a file: name (100), mode, uid, gid (8 each), size, mtime (12 each), checksum (8), type, linkname (100),
/// magic and version. Numbers are octal text.
fn header(path: &str, length: usize, at: i64) -> std::io::Result<[u8; BLOCK]> {
    let wrong = |why: &str| std::io::Error::other(format!("{path}: {why}"));
    if path.len() > 100 {
        return Err(wrong("the path is longer than an archive takes"));
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = block.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, path.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{length:011o}\0").as_bytes());
    put(136, format!("{:011o}\0", at.max(0)).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    if let Some(place) = block.get_mut(148..156) {
        place.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_packed_is_a_tar_archive_with_a_right_checksum() {
        let packed = pack([("a/b.toml".to_owned(), &b"x = 1\n"[..])].into_iter(), 1_700_000_000).unwrap();
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut tar).unwrap();
        assert_eq!(tar.len(), 4 * BLOCK);
        assert_eq!(&tar[..8], b"a/b.toml");
        assert_eq!(&tar[124..136], b"00000000006\0");
        assert_eq!((&tar[257..263], &tar[BLOCK..BLOCK + 6]), (&b"ustar\0"[..], &b"x = 1\n"[..]));
        let written = u32::from_str_radix(std::str::from_utf8(&tar[148..154]).unwrap(), 8).unwrap();
        let sum: u32 =
            (0..BLOCK).map(|at| if (148..156).contains(&at) { 32 } else { u32::from(tar[at]) }).sum();
        assert_eq!(written, sum);
        assert!(header(&"x".repeat(101), 0, 0).is_err());
    }
}
