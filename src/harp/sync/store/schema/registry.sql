-- SPDX-License-Identifier: AGPL-3.0-or-later
-- What this device knows beside its folders' ledgers. Version 1.

-- The folders of this device: their ledger's file name under HOME/folders.
CREATE TABLE folder (
    folder_id BLOB PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    path      TEXT NOT NULL UNIQUE,
    ledger    TEXT NOT NULL,
    paused    INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Tickets that were given out. Only a hash of the secret is kept; `redeemed_by` is set once, by one UPDATE.
CREATE TABLE ticket (
    secret_hash BLOB PRIMARY KEY,
    knock_key   BLOB NOT NULL,
    folder_id   BLOB NOT NULL,
    role        INTEGER NOT NULL,
    expires_s   REAL NOT NULL,
    redeemed_by BLOB
) WITHOUT ROWID;

-- Addresses at which a device answered or said it can be found.
CREATE TABLE address (
    device    BLOB NOT NULL,
    address   TEXT NOT NULL,
    worked_s  REAL,
    PRIMARY KEY (device, address)
) WITHOUT ROWID;

-- Devices whose links this device refuses.
CREATE TABLE forgotten (
    device BLOB PRIMARY KEY,
    at_s   REAL NOT NULL
) WITHOUT ROWID;
