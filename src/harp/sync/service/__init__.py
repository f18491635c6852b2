# SPDX-License-Identifier: AGPL-3.0-or-later
"""The crank: the only code that knows both what peers say and what the disk does."""
