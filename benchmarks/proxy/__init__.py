# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bench of the app plane: a plain upstream, plain HAProxy, Harp and the reference HaRP, in one run."""
