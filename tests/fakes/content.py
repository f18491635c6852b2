# SPDX-License-Identifier: AGPL-3.0-or-later
"""Content of files that no two places of a file have in common."""

import sys
from array import array


def counted(numbers: int) -> bytes:
    """The numbers from 0 on, each in four bytes, the most significant one first."""
    content = array("I", range(numbers))
    if sys.byteorder == "little":
        content.byteswap()
    return content.tobytes()
