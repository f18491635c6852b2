# SPDX-License-Identifier: AGPL-3.0-or-later
"""The meeting place: one API on a Unix socket for the command line, the console and the Nextcloud app."""
