# SPDX-License-Identifier: AGPL-3.0-or-later
"""What should happen, decided without acting: chains, causes, members, merge, plans."""
