-- SPDX-License-Identifier: AGPL-3.0-or-later
-- Where a folder and the account that it mirrors last agreed. Version 1.

-- One row a path. `inode`, `size` and `mtime_ns` are this disk's, `fileid`, `etag` and `permissions` the account's.
CREATE TABLE agreed (
    path         TEXT PRIMARY KEY,
    is_directory INTEGER NOT NULL,
    inode        INTEGER NOT NULL,
    size         INTEGER NOT NULL,
    mtime_ns     INTEGER NOT NULL,
    fileid       TEXT NOT NULL,
    etag         TEXT NOT NULL,
    sha256       TEXT NOT NULL,
    permissions  TEXT NOT NULL
) WITHOUT ROWID;

-- Folders of the account below which all was agreed when they had this etag: a walk passes them by.
CREATE TABLE mark (
    path TEXT PRIMARY KEY,
    etag TEXT NOT NULL
) WITHOUT ROWID;

-- Uploads in chunks that were begun: of which version on this disk, where its chunks lie in the account, how many of them
-- are there, and the content's hash once they are put together.
CREATE TABLE upload (
    path     TEXT PRIMARY KEY,
    inode    INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    place    TEXT NOT NULL,
    sent     INTEGER NOT NULL,
    sha256   TEXT NOT NULL
) WITHOUT ROWID;

-- The etag that each folder of the account had last, and those it had before: a server on which one of them comes again
-- has gone back in time.
CREATE TABLE folder (
    fileid TEXT PRIMARY KEY,
    etag   TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE past (
    id     INTEGER PRIMARY KEY,
    fileid TEXT NOT NULL,
    etag   TEXT NOT NULL,
    UNIQUE (fileid, etag) ON CONFLICT IGNORE
);

-- The server's fingerprint and the like.
CREATE TABLE fact (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
