# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tables, as SQL with the reason for each above it."""
