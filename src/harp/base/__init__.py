# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ground: errors, configuration, clock and owned tasks; knows nothing of files, peers or proxies."""
