# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who speaks: device ids and signatures, pairing tickets, and the key on the disk."""
