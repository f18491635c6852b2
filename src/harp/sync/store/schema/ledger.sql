-- SPDX-License-Identifier: AGPL-3.0-or-later
-- The ledger of one folder. Version 1.

-- Single facts: the folder's id, name, place on the disk, secrets, our incarnation, a pause.
CREATE TABLE fact (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- One row for each author and incarnation. `merged` is the last sequence that is merged, `merged_id` its entry.
-- `stopped_at` is the last common entry of a fork: what lies beyond it does not count until an owner approves.
CREATE TABLE chain (
    chain_no    INTEGER PRIMARY KEY,
    author      BLOB NOT NULL,
    incarnation BLOB NOT NULL,
    merged      INTEGER NOT NULL DEFAULT 0,
    merged_id   BLOB NOT NULL,
    stopped_at  INTEGER,
    UNIQUE (author, incarnation)
);

-- Batches as their authors signed them: the truth from which all else here could be rebuilt, and what is relayed.
-- `merge_no` is the order of merging, which is an order of causes; NULL while a batch waits for its causes.
CREATE TABLE batch (
    batch_no       INTEGER PRIMARY KEY,
    chain_no       INTEGER NOT NULL REFERENCES chain,
    first_sequence INTEGER NOT NULL,
    last_sequence  INTEGER NOT NULL,
    merge_no       INTEGER,
    data           BLOB NOT NULL,
    UNIQUE (chain_no, first_sequence)
);
CREATE INDEX batch_waiting ON batch (batch_no) WHERE merge_no IS NULL;
CREATE INDEX batch_merged ON batch (merge_no) WHERE merge_no IS NOT NULL;

-- Every path that history or this disk knows.
--   heads    entry ids (32 bytes each) that nothing supersedes
--   lives    whether one of them is not a tombstone
--   pending  0 the disk shows what it should, 1 it does not yet, 2 journalled: a write may be under way
--   problem  why the disk cannot show it just now
--   disk_*   what lies on this disk (NULL: nothing of ours); see model.OnDisk
-- Items in the trash are rows too, under `.harp/trash/`, without heads: a place where chunks lie.
CREATE TABLE path (
    path_no           INTEGER PRIMARY KEY,
    path              BLOB NOT NULL UNIQUE,
    heads             BLOB NOT NULL DEFAULT x'',
    lives             INTEGER NOT NULL DEFAULT 0,
    pending           INTEGER NOT NULL DEFAULT 0,
    problem           TEXT,
    disk_kind         INTEGER,
    disk_size         INTEGER,
    disk_mtime_ns     INTEGER,
    disk_ctime_ns     INTEGER,
    disk_inode        INTEGER,
    disk_executable   INTEGER,
    applied           BLOB,
    disk_root         BLOB,
    disk_target       BLOB,
    wanted_mtime_ns   INTEGER,
    wanted_executable INTEGER,
    copy_of           BLOB,
    is_racy           INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX path_pending ON path (pending) WHERE pending > 0;
CREATE INDEX path_racy ON path (is_racy) WHERE is_racy > 0;
CREATE INDEX path_copy ON path (copy_of) WHERE copy_of IS NOT NULL;
CREATE INDEX path_root ON path (disk_root) WHERE disk_root IS NOT NULL AND disk_root != x'';

-- Entries about paths, as projected from merged batches; `replaces` is ids of 32 bytes each.
-- `counts` is 0 for what its author had no right to say (beyond a cut, without a grant, beyond a fork).
CREATE TABLE entry (
    id         BLOB PRIMARY KEY,
    path_no    INTEGER NOT NULL REFERENCES path,
    chain_no   INTEGER NOT NULL REFERENCES chain,
    sequence   INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    mtime_ns   INTEGER NOT NULL,
    executable INTEGER NOT NULL,
    root       BLOB NOT NULL,
    target     BLOB NOT NULL,
    hlc        INTEGER NOT NULL,
    replaces   BLOB NOT NULL,
    prev       BLOB NOT NULL,
    counts     INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE INDEX entry_path ON entry (path_no);

-- Ids that a counted entry at that path replaces and that had not arrived when it was merged.
CREATE TABLE superseded (
    id      BLOB NOT NULL,
    path_no INTEGER NOT NULL,
    PRIMARY KEY (id, path_no)
) WITHOUT ROWID;

-- Grants, cuts, approvals and leaves: few, and read whole when the folder opens.
CREATE TABLE governance (
    id       BLOB PRIMARY KEY,
    merge_no INTEGER NOT NULL,
    batch_no INTEGER NOT NULL REFERENCES batch
) WITHOUT ROWID;

-- Where each chunk of a file of more than one chunk lies on this disk.
CREATE TABLE chunk (
    id      BLOB NOT NULL,
    path_no INTEGER NOT NULL,
    offset  INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    PRIMARY KEY (id, path_no, offset)
) WITHOUT ROWID;

-- Manifest nodes (segments and roots) by id.
CREATE TABLE node (
    id   BLOB PRIMARY KEY,
    data BLOB NOT NULL
);

-- What waits for a person: see engine.guard. `paths` and `entries` are CBOR arrays: what was shown is what is decided.
CREATE TABLE held (
    held_id TEXT PRIMARY KEY,
    origin  TEXT NOT NULL,
    reason  TEXT NOT NULL,
    paths   BLOB NOT NULL,
    entries BLOB NOT NULL,
    since_s REAL NOT NULL
) WITHOUT ROWID;

-- Entries whose losses a person here has approved.
CREATE TABLE approved (
    id BLOB PRIMARY KEY
) WITHOUT ROWID;

-- What has been removed or turned back in the guard's window.
CREATE TABLE loss (
    at_s  REAL NOT NULL,
    count INTEGER NOT NULL
);

-- Proof that an author's chain forked: two batches that cannot both be.
CREATE TABLE fork (
    chain_no  INTEGER NOT NULL REFERENCES chain,
    sequence  INTEGER NOT NULL,
    batch_a   BLOB NOT NULL,
    batch_b   BLOB NOT NULL,
    approved  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (chain_no, sequence)
) WITHOUT ROWID;
