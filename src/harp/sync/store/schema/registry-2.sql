-- SPDX-License-Identifier: AGPL-3.0-or-later
-- Version 2 of the registry: when a device was linked last, also one that always dials us.

CREATE TABLE seen (
    device BLOB PRIMARY KEY,
    at_s   REAL NOT NULL
) WITHOUT ROWID;

INSERT INTO seen (device, at_s)
SELECT device, max(worked_s) FROM address WHERE worked_s IS NOT NULL GROUP BY device;
