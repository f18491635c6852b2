# SPDX-License-Identifier: AGPL-3.0-or-later
"""What we remember: each folder's ledger and the device's registry, in SQLite."""
