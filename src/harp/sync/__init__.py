# SPDX-License-Identifier: AGPL-3.0-or-later
"""Plane 1: folders kept the same, in real time, between devices that trust each other."""
