# SPDX-License-Identifier: AGPL-3.0-or-later
"""The app plane: Nextcloud's External Apps behind HAProxy, which decides alone whatever it knows."""
