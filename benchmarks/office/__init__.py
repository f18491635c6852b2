# SPDX-License-Identifier: AGPL-3.0-or-later
"""How often a byte crosses an office's slow line: Harp and Syncthing in a laboratory of real networks."""
