-- The first schema, as boxes of that time have it.
PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
CREATE TABLE link (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE frame (
  id INTEGER PRIMARY KEY, link INTEGER NOT NULL, received INTEGER NOT NULL, synchronised INTEGER NOT NULL,
  sha256 BLOB NOT NULL, peer TEXT NOT NULL, topic TEXT, warnings TEXT, bytes BLOB NOT NULL) STRICT;
CREATE TABLE entry (
  id INTEGER PRIMARY KEY, state INTEGER NOT NULL, link INTEGER NOT NULL, prefix INTEGER NOT NULL, device INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0, repeats INTEGER NOT NULL DEFAULT 0, next_try INTEGER, sent_at INTEGER,
  answered_at INTEGER, reason TEXT, answer TEXT, summary TEXT, notes TEXT) STRICT;
CREATE INDEX entry_open ON entry (state, id, link, device) WHERE state < 3;
CREATE INDEX entry_delayed ON entry (next_try) WHERE next_try IS NOT NULL;
CREATE TABLE seen (
  bucket INTEGER NOT NULL, prefix INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (bucket, prefix, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE part (
  id INTEGER PRIMARY KEY, link INTEGER NOT NULL, peer TEXT NOT NULL, received INTEGER NOT NULL,
  synchronised INTEGER NOT NULL, sha256 BLOB NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE device (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, label TEXT NOT NULL DEFAULT '', manufacturer TEXT NOT NULL DEFAULT '',
  model TEXT NOT NULL DEFAULT '', link TEXT NOT NULL DEFAULT '', first_seen INTEGER NOT NULL,
  last_seen INTEGER NOT NULL, identifiers TEXT NOT NULL DEFAULT '[]') STRICT;
CREATE TABLE user (
  name TEXT PRIMARY KEY, password TEXT NOT NULL, role TEXT NOT NULL, created INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE session (
  id BLOB PRIMARY KEY, user TEXT NOT NULL, created INTEGER NOT NULL, last_used INTEGER NOT NULL,
  expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE audit (
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL,
  previous BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE tally (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO tally VALUES ('last_id', 0), ('gone', 0), ('seen_through', 0), ('audit_rows', 0), ('audit_head', '');
INSERT INTO link VALUES (1, 'monitors');
UPDATE tally SET value = 20 WHERE name = 'last_id';
PRAGMA application_id = 1111835731;
PRAGMA user_version = 1;
