# SPDX-License-Identifier: AGPL-3.0-or-later
"""HAProxy driven: the agent it asks, the socket it obeys, its process."""
