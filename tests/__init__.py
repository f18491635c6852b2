# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tests: unit, property, integration, e2e, and the fakes they share."""
