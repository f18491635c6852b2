# SPDX-License-Identifier: AGPL-3.0-or-later
"""The daemon: the one place where all parts are made, wired and supervised. Read ``composition`` first."""

from harp.daemon.composition import run

__all__ = ["run"]
