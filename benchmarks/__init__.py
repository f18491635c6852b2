# SPDX-License-Identifier: AGPL-3.0-or-later
"""Harp next to real peers, in one run on one machine; `python -m benchmarks`, explained in README.md."""
