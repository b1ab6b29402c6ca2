//! For a database whose schema nobody can read any more: the frames are looked for page by page, by their shape, and each is
//! believed because of its SHA-256. What has one needs no tree, no index and no schema to be known for what a device said.
//!
//! SQLite's file format, sections 1.6 (b-tree pages), 2.1 (the format of a row) and 1.6 (overflow pages).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{MAX_FRAME_BYTES, compact, sha256};

const PAGE: usize = 4_096;
/// A leaf of a table.
const LEAF: u8 = 13;
/// Most payload of a cell that has no overflow, and the least that stays when it has.
const MOST_LOCAL: usize = PAGE - 35;
const LEAST_LOCAL: usize = (PAGE - 12) * 32 / 255 - 23;
/// Serial types of the columns that every frame has alike: `id` is the row's number, and the sum is 32 bytes.
const NULL: u64 = 0;
const BLOB_OF_32: u64 = 12 + 2 * 32;

/// A frame that was found, with its sum verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carved {
    pub(super) id: i64,
    pub(super) link: i64,
    pub(super) received: i64,
    pub(super) synchronised: bool,
    pub(super) sum: [u8; 32],
    pub(super) peer: String,
    pub(super) topic: Option<String>,
    pub(super) warnings: Option<String>,
    /// As they lay there.
    pub(super) bytes: Vec<u8>,
    pub(super) packed: Option<i64>,
}

/// Looks through the whole file; `found` hears of each frame, in no order. What cannot be read is passed over.
///
/// # Errors
/// Only those of `found`.
pub(super) fn frames<E>(path: &Path, found: &mut dyn FnMut(Carved) -> Result<(), E>) -> Result<(), E> {
    let Ok(file) = File::open(path) else { return Ok(()) };
    let pages = file.metadata().map_or(0, |file| file.len()) / PAGE as u64;
    let mut page = vec![0; PAGE];
    for number in 1..=pages {
        if file.read_exact_at(&mut page, (number - 1) * PAGE as u64).is_err() {
            continue;
        }
        for cell in cells(&page, if number == 1 { 100 } else { 0 }) {
            if let Some(carved) = row(&file, &page, cell) {
                found(carved)?;
            }
        }
    }
    Ok(())
}

/// Where the cells of a leaf begin; none of a page of another kind.
fn cells(page: &[u8], header: usize) -> Vec<usize> {
    if page.get(header) != Some(&LEAF) {
        return Vec::new();
    }
    let number = |at: usize| Some(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?])));
    // A cell has four bytes at least.
    let count = number(header + 3).unwrap_or(0).min(PAGE / 4);
    (0..count).filter_map(|cell| number(header + 8 + 2 * cell)).collect()
}

/// A variable-length integer and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        if at == 8 {
            return Some(((value << 8) | u64::from(*byte), bytes.get(9..)?));
        }
        value = (value << 7) | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

fn row(file: &File, page: &[u8], cell: usize) -> Option<Carved> {
    let (length, rest) = varint(page.get(cell..)?)?;
    let (id, local) = varint(rest)?;
    let id = i64::try_from(id).ok().filter(|id| *id > 0)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_FRAME_BYTES + PAGE)?;
    let (kinds, _) = kinds(local)?;
    // Seen before the overflow is followed, so that few chains are.
    if !(9..=10).contains(&kinds.len()) || kinds.first() != Some(&NULL) || kinds.get(4) != Some(&BLOB_OF_32) {
        return None;
    }
    let payload = payload(file, local, length)?;
    let carved = columns(id, &payload)?;
    (sha256(&compact::frame(&carved.bytes, carved.packed)) == carved.sum).then_some(carved)
}

/// The serial types of a row, and the length of its header.
fn kinds(payload: &[u8]) -> Option<(Vec<u64>, usize)> {
    let (header, _) = varint(payload)?;
    let header = usize::try_from(header).ok().filter(|header| *header <= 64)?;
    let (_, mut rest) = varint(payload.get(..header)?)?;
    let mut kinds = Vec::new();
    while !rest.is_empty() {
        let (kind, after) = varint(rest)?;
        kinds.push(kind);
        rest = after;
    }
    Some((kinds, header))
}

/// The payload of a cell, with what overflowed.
fn payload(file: &File, local: &[u8], length: usize) -> Option<Vec<u8>> {
    if length <= MOST_LOCAL {
        return local.get(..length).map(<[u8]>::to_vec);
    }
    let some = LEAST_LOCAL + (length - LEAST_LOCAL) % (PAGE - 4);
    let here = if some <= MOST_LOCAL { some } else { LEAST_LOCAL };
    let mut whole = local.get(..here)?.to_vec();
    let mut next = u32::from_be_bytes(local.get(here..here + 4)?.try_into().ok()?);
    let mut page = vec![0; PAGE];
    while whole.len() < length {
        file.read_exact_at(&mut page, u64::from(next.checked_sub(1)?) * PAGE as u64).ok()?;
        let (link, content) = page.split_first_chunk::<4>()?;
        next = u32::from_be_bytes(*link);
        whole.extend(content.iter().take(length - whole.len()));
    }
    Some(whole)
}

/// One column's value.
enum Column<'a> {
    Nothing,
    Number(i64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
}

impl Column<'_> {
    fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => String::from_utf8(text.to_vec()).ok(),
            _ => None,
        }
    }

    const fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

fn column(kind: u64, body: &[u8]) -> Option<(Column<'_>, &[u8])> {
    let number = |length: usize| {
        let (bytes, rest) = body.split_at_checked(length)?;
        let start = if bytes.first().is_some_and(|first| first & 0x80 != 0) { -1_i64 } else { 0 };
        let number = bytes.iter().fold(start, |number, byte| (number << 8) | i64::from(*byte));
        Some((Column::Number(number), rest))
    };
    match kind {
        NULL => Some((Column::Nothing, body)),
        1..=4 => number(usize::try_from(kind).ok()?),
        5 => number(6),
        6 => number(8),
        8 => Some((Column::Number(0), body)),
        9 => Some((Column::Number(1), body)),
        12.. => {
            let (bytes, rest) = body.split_at_checked(usize::try_from((kind - 12) / 2).ok()?)?;
            Some((if kind.is_multiple_of(2) { Column::Bytes(bytes) } else { Column::Text(bytes) }, rest))
        }
        _ => None,
    }
}

fn columns(id: i64, payload: &[u8]) -> Option<Carved> {
    let (kinds, header) = kinds(payload)?;
    let mut body = payload.get(header..)?;
    let mut values = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let (value, rest) = column(kind, body)?;
        values.push(value);
        body = rest;
    }
    let [
        _,
        link,
        received,
        synchronised,
        Column::Bytes(sum),
        peer,
        topic,
        warnings,
        Column::Bytes(bytes),
        packed @ ..,
    ] = values.as_slice()
    else {
        return None;
    };
    Some(Carved {
        id,
        link: link.number()?,
        received: received.number()?,
        synchronised: synchronised.number() == Some(1),
        sum: (*sum).try_into().ok()?,
        peer: peer.text().unwrap_or_default(),
        topic: topic.text(),
        warnings: warnings.text(),
        bytes: bytes.to_vec(),
        packed: packed.first().and_then(Column::number),
    })
}

/// Fuzz body: any page gives rows or none.
pub(super) fn fuzz(bytes: &[u8]) {
    for cell in cells(bytes, 0) {
        if let Some((_, rest)) = bytes.get(cell..).and_then(varint) {
            drop(columns(1, rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn frames_of_all_sizes_are_found_without_a_schema() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        std::fs::write(&path, b"").unwrap();
        let mut conn = schema::connect_writing(&path).unwrap();
        schema::migrate(&mut conn).unwrap();
        let said = |n: i64| -> Vec<u8> {
            let length =
                [0, 7, 300, 3_900, 4_000, 4_060, 4_100, 20_000, 90_000][usize::try_from(n % 9).unwrap()];
            (0..length).map(|at: i64| u8::try_from((at * 31 + n) % 251).unwrap()).collect()
        };
        for n in 1..=60 {
            let (bytes, packed) = (said(n), compact::packed(&said(n)));
            let sum = sha256(&bytes);
            let column = packed.as_ref().map(|packed| packed.column);
            let stored = packed.map_or(bytes, |packed| packed.bytes);
            let at = 1_795_305_600_000_000_i64 - n;
            conn.execute(
                "INSERT INTO frame VALUES (?1, ?2, ?3, 1, ?4, 'peer', NULL, NULL, ?5, ?6)",
                rusqlite::params![n, n % 3, at, sum, stored, column],
            )
            .unwrap();
        }
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        conn.close().unwrap();
        // The schema is gone, and a bit of one frame.
        let mut file = std::fs::read(&path).unwrap();
        file[..PAGE].fill(0xEE);
        let third: Vec<u8> = said(2);
        let at = file.windows(third.len()).position(|window| window == third).unwrap();
        file[at] ^= 1;
        std::fs::write(&path, file).unwrap();
        let mut found = std::collections::BTreeMap::new();
        frames::<()>(&path, &mut |carved| {
            found.insert(carved.id, carved);
            Ok(())
        })
        .unwrap();
        assert_eq!(found.len(), 59, "all but the changed one");
        for (id, carved) in &found {
            assert_eq!(*compact::frame(&carved.bytes, carved.packed), *said(*id));
            assert_eq!((carved.link, carved.received), (id % 3, 1_795_305_600_000_000 - id));
            assert!(carved.synchronised && carved.peer == "peer" && carved.topic.is_none());
        }
    }
}
