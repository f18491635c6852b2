# SPDX-License-Identifier: AGPL-3.0-or-later
"""ExApps in containers of a Docker Engine: made, started, watched, removed as AppAPI asks (contract, 3.3 and 3.4)."""
