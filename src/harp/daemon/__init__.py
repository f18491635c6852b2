# SPDX-License-Identifier: AGPL-3.0-or-later
"""The daemon: the one place where all parts are made, wired and supervised. Read ``composition`` first.

The app plane has roots of its own: ``appplane`` supervises, ``appagent`` decides. Neither imports the file plane.
"""
