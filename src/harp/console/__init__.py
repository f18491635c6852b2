# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console: all that a person does with Harp, as pages in a browser; a client of ``/v1`` alone."""
