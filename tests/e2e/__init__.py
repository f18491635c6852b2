# SPDX-License-Identifier: AGPL-3.0-or-later
"""On a real Nextcloud: ``make e2e NEXTCLOUD=/path/to/a/nextcloud/tree``."""
