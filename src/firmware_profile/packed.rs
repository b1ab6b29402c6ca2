//! The files below `firmware-profiles/` as they are part of the program: each packed by itself (build.rs), and unpacked when
//! it is asked for. Plain, they are five times the size.

use std::io::Read as _;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/firmware-profiles.packed"));

/// A file: its path, and what is packed.
type Packed = (&'static str, &'static [u8]);

fn shelf() -> impl Iterator<Item = Packed> {
    let mut rest = PACKED;
    std::iter::from_fn(move || {
        let (file, after) = first(rest)?;
        rest = after;
        Some(file)
    })
}

/// The first file, and what follows it.
fn first(rest: &'static [u8]) -> Option<(Packed, &'static [u8])> {
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (path, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (packed, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some(((std::str::from_utf8(path).ok()?, packed), rest))
}

/// The paths of all files, in order, with `/` between folders.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    shelf().map(|(path, _)| path)
}

/// The content of a file.
pub(super) fn file(path: &str) -> Option<Vec<u8>> {
    let (_, packed) = shelf().find(|(name, _)| *name == path)?;
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(packed).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_part_of_the_program_byte_for_byte() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles");
        let mut folders = vec![folder.clone()];
        let mut seen = 0;
        while let Some(inner) = folders.pop() {
            for entry in std::fs::read_dir(inner).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
                assert_eq!(file(&name).unwrap(), std::fs::read(&path).unwrap(), "{name}");
                seen += 1;
            }
        }
        assert_eq!(paths().count(), seen);
        assert!(seen > 500 && file("nobody/nothing").is_none());
        assert!(PACKED.len() < 2 << 20, "{} bytes", PACKED.len());
    }
}
