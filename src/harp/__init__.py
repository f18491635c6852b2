# SPDX-License-Identifier: AGPL-3.0-or-later
"""Harp: folders kept the same between devices that trust each other, at home beside Nextcloud."""

__version__ = "0.1.0"
