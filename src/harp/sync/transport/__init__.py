# SPDX-License-Identifier: AGPL-3.0-or-later
"""How bytes travel: secured links to a DeviceId, the knock that comes before them, and how devices find each other."""
