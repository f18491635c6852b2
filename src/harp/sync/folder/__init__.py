# SPDX-License-Identifier: AGPL-3.0-or-later
"""A side, the disk: names, walking, watching, reading and applying one shared folder."""
