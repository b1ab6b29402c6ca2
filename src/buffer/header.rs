//! For a bit that flips in the first hundred bytes: there SQLite says what kind of file it is, always in the same words, and
//! one wrong bit of them would make the whole file "not a database". A few wrong bytes among those that never differ are
//! put right; a file with more of them, or without our mark, is none of ours, and is left as it is.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the header that are the same in every database of ours (SQLite's file format, section 1.3), and where.
const FIXED: [(u64, &[u8]); 7] = [
    (0, b"SQLite format 3\0"),
    // Page size 4096.
    (16, &[0x10, 0x00]),
    // No reserved space; the payload fractions.
    (20, &[0, 64, 32, 32]),
    // Schema format 4, and no suggested cache size.
    (44, &[0, 0, 0, 4, 0, 0, 0, 0]),
    // UTF-8.
    (56, &[0, 0, 0, 1]),
    // Incremental vacuum.
    (64, &[0, 0, 0, 1]),
    // Reserved.
    (72, &[0; 20]),
];
/// `BEDS`: who wrote the file. Other programs' databases have nearly the same header.
const APPLICATION: [u8; 4] = *b"BEDS";
const APPLICATION_AT: u64 = 68;
/// More than that is another file.
const MOST_WRONG: usize = 4;

/// Puts the header right where a few of its fixed bytes are wrong; how many were.
///
/// # Errors
/// Those of the file; a file shorter than a page is left as it is.
pub(super) fn mend(path: &Path) -> std::io::Result<usize> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() < 4_096 {
        return Ok(0);
    }
    let mut application = [0; 4];
    file.read_exact_at(&mut application, APPLICATION_AT)?;
    let wrong = wrong_bytes(&file)?;
    if application != APPLICATION || wrong == 0 || wrong > MOST_WRONG {
        return Ok(0);
    }
    for (at, bytes) in FIXED {
        file.write_all_at(bytes, at)?;
    }
    file.sync_all()?;
    Ok(wrong)
}

fn wrong_bytes(file: &File) -> std::io::Result<usize> {
    let mut wrong = 0;
    for (at, bytes) in FIXED {
        let mut found = vec![0; bytes.len()];
        file.read_exact_at(&mut found, at)?;
        wrong += found.iter().zip(bytes).filter(|(found, right)| found != right).count();
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn our_own_header_has_these_bytes_and_a_few_wrong_ones_are_put_right() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        std::fs::write(&path, b"").unwrap();
        let mut conn = schema::connect_writing(&path).unwrap();
        schema::migrate(&mut conn).unwrap();
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        conn.close().unwrap();
        assert_eq!(wrong_bytes(&File::open(&path).unwrap()).unwrap(), 0);
        let sound = std::fs::read(&path).unwrap();
        for at in [3, 17, 21, 47, 59, 67, 80] {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(mend(&path).unwrap(), 1);
            assert_eq!(std::fs::read(&path).unwrap(), sound);
        }
        let other = vec![b'x'; 8_192];
        std::fs::write(&path, &other).unwrap();
        assert_eq!(mend(&path).unwrap(), 0);
        assert_eq!(std::fs::read(&path).unwrap(), other, "nothing is written into another file");
    }
}
