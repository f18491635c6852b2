# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line: one module a verb family, each a client of the daemon's socket."""
