# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a file's bytes are cut: FastCDC with normative table and sizes, whatever pieces the bytes come in.

A cut depends on the bytes since the cut before it and on nothing else, and is taken only with ``MAX_CHUNK`` bytes in
sight or at the end of the file. So two readers with other buffers cut alike, and an insertion moves only the cuts
near it.
"""

from typing import Final

from pyfastcdc import FastCDC

from harp.sync.model import AVERAGE_CHUNK, MAX_CHUNK, MIN_CHUNK

NORMALIZATION: Final = 1
"""Normalised chunking level of FastCDC (Xia et al., 2020, section 3.5); normative, as is the gear table of seed 0."""

Cuts = list[tuple[int, int]]
"""Offset and length of each chunk, one after the other from the start of the buffer."""


class Chunker:
    """Cuts one stream; not to be shared between threads."""

    __slots__ = ("_fastcdc",)

    def __init__(self) -> None:
        self._fastcdc = FastCDC(
            AVERAGE_CHUNK, min_size=MIN_CHUNK, max_size=MAX_CHUNK, normalized_chunking=NORMALIZATION, seed=0
        )

    def cut(self, buffer: memoryview, *, final: bool) -> Cuts:
        """The chunks that are certain in ``buffer``, which has to begin where the last chunk ended.

        ``final``: the file ends with the buffer, so all of it is cut. Otherwise fewer than ``MAX_CHUNK`` bytes are
        left over at the end (:func:`consumed` says where they start): the caller moves them to the front and reads on.
        Nothing is copied; ``buffer`` is one-dimensional, of bytes.
        """
        cuts: Cuts = []
        last_certain = len(buffer) - 1 if final else len(buffer) - MAX_CHUNK
        if last_certain < 0:
            return cuts
        offset = 0
        for chunk in self._fastcdc.cut_buf(buffer):
            length = chunk.length
            cuts.append((offset, length))
            offset += length
            if offset > last_certain:
                break
        return cuts


def consumed(cuts: Cuts) -> int:
    """How many bytes of the buffer ``cuts`` has taken."""
    if not cuts:
        return 0
    offset, length = cuts[-1]
    return offset + length


def whole_zero_chunks(run_bytes: int) -> int:
    """How many chunks of ``MAX_CHUNK`` zeros are certain where ``run_bytes`` zeros follow a cut.

    A hole needs neither reading nor cutting: zeros never cut before ``MAX_CHUNK``.
    """
    return run_bytes // MAX_CHUNK
