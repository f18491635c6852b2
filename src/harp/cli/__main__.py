# SPDX-License-Identifier: AGPL-3.0-or-later
"""``python -m harp.cli`` is ``harp``."""

from harp.cli.main import main

main()
