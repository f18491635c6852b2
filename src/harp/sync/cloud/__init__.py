# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Nextcloud account as the other side of a folder: what lies there, what to do about it, and WebDAV to do it."""
