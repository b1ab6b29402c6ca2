//! The SQL of the faults that a build for the rigs commits on purpose. Never asked for in any other build.

use rusqlite::Connection;

/// What a queue that makes room by itself does to results nobody has.
pub(super) fn drop_oldest(conn: &Connection) {
    let oldest = "(SELECT id FROM entry WHERE state = 0 ORDER BY id LIMIT 2)";
    for table in ["frame", "entry"] {
        drop(conn.execute(&format!("DELETE FROM {table} WHERE id IN {oldest}"), []));
    }
}

/// Somebody else did it.
pub(super) fn edit_audit(conn: &Connection, id: i64) -> rusqlite::Result<()> {
    conn.execute_batch("DROP TRIGGER IF EXISTS audit_is_not_changed")?;
    conn.execute("UPDATE audit SET who = 'somebody else' WHERE id = ?1", [id]).map(drop)
}
