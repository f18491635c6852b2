# SPDX-License-Identifier: AGPL-3.0-or-later
"""A laboratory of real networks: a cloud, offices with a LAN and one slow line each, in network namespaces."""
