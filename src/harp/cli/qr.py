# SPDX-License-Identifier: AGPL-3.0-or-later
"""A QR code (ISO/IEC 18004) on a terminal, for a device that has a camera and no way to paste."""

import io

import segno

_BORDER = 4
"""The quiet zone, in modules; many a reader finds nothing without it."""


def drawn(text: str) -> str:
    """``text`` as lines for a terminal, in its own colours for black and white whatever the terminal's are.

    In capitals, where a code holds half as much again: for texts whose case means nothing, like tickets.
    """
    drawing = io.StringIO()
    segno.make(text.upper(), error="l", micro=False, boost_error=False).terminal(drawing, border=_BORDER, compact=True)
    return drawing.getvalue()
