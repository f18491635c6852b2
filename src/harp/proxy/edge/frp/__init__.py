# SPDX-License-Identifier: AGPL-3.0-or-later
"""FRP: frps supervised, its certificates and tokens, and the door at which it asks whom to let in."""
