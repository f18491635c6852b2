# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is decided, without a clock, a disk or a network: patterns · decide · record · compile."""
