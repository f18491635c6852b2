# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stand-ins for the world, as real as what they stand in for, but in memory and with a chosen clock."""
