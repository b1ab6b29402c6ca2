//! Persons nobody has spoken of for long and who are in no bed: they are forgotten, with all that was merged into them.

use rusqlite::{Connection, params};

use super::apply::family;
use crate::clock::Timestamp;

/// 400 days without a word, in microseconds.
const FORGET_AFTER: i64 = 400 * 86_400 * 1_000_000;
/// Persons forgotten in one go.
const AT_ONCE: u32 = 500;

/// Forgets some of those who are old enough; the next upkeep goes on.
pub(in crate::buffer) fn forget(conn: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let before = now.micros.saturating_sub(FORGET_AFTER);
    let tx = conn.unchecked_transaction()?;
    let old: Vec<i64> = tx
        .prepare_cached(
            "SELECT id FROM person WHERE merged_into IS NULL AND heard < ?1
               AND id NOT IN (SELECT person FROM stay WHERE until IS NULL AND (bed IS NOT NULL OR room IS NOT NULL)) LIMIT ?2",
        )?
        .query_map(params![before, AT_ONCE], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for survivor in old {
        for person in family(&tx, survivor)? {
            for table in ["person_identifier", "encounter", "movement", "stay", "person_entry"] {
                tx.prepare_cached(&format!("DELETE FROM {table} WHERE person = ?1"))?.execute([person])?;
            }
            tx.prepare_cached("DELETE FROM person_merge WHERE survivor = ?1 OR gone = ?1")?
                .execute([person])?;
            tx.prepare_cached("DELETE FROM person WHERE id = ?1")?.execute([person])?;
        }
    }
    tx.commit()
}
