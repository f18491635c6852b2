# SPDX-License-Identifier: AGPL-3.0-or-later
"""How ExApps are started and stopped: the port, and the way of those that are started by hand."""
