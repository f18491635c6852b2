# SPDX-License-Identifier: AGPL-3.0-or-later
"""What peers say to each other, and when they may say it: pure, ``docs/protocol.md`` is its normative text."""
