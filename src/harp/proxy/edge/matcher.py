# SPDX-License-Identifier: AGPL-3.0-or-later
"""Regular expressions that may take for ever, in a process that can be ended: Python's own cannot be interrupted."""

import asyncio
import contextlib
import re
import sys
import warnings

import msgspec

LIMIT_S = 0.25
QUEUE_MOST = 32


class ProcessMatcher:
    """One process, started when it is first needed, and again after each time-out."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._is_up = False
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def first(self, patterns: tuple[str, ...], path: str) -> int | None:
        """The index of the first pattern that matches at the start of ``path``; a pattern that Python refuses is none.

        Raises :class:`TimeoutError` when it takes too long, or too many wait already.
        """
        if self._waiting >= QUEUE_MOST:
            raise TimeoutError
        self._waiting += 1
        try:
            async with self._lock:
                return await self._matched(patterns, path)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _matched(self, patterns: tuple[str, ...], path: str) -> int | None:
        process = self._process or await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        if not self._is_up:
            # Python's own start is not the expression's time. Who gives up during it leaves this line to the next one,
            # who would take it for an answer.
            await process.stdout.readline()
            self._is_up = True
        try:
            process.stdin.write(msgspec.json.encode((patterns, path)) + b"\n")
            async with asyncio.timeout(LIMIT_S):
                line = await process.stdout.readline()
            if not line:
                raise TimeoutError  # it died over this: as good as too slow
            return msgspec.json.decode(line, type=int | None)
        except (TimeoutError, OSError):
            await self.close()
            raise TimeoutError from None
        except asyncio.CancelledError:
            await self.close()
            raise

    async def _started(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "harp.proxy.edge.matcher",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 22,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(b'[[],""]\n')
        self._is_up = False
        return self._process


def serve() -> None:
    """The process: a line with patterns and a path in, a line with an index out."""
    warnings.simplefilter("ignore")
    for line in sys.stdin.buffer:
        patterns, path = msgspec.json.decode(line, type=tuple[list[str], str])
        sys.stdout.buffer.write(msgspec.json.encode(_first(patterns, path)) + b"\n")
        sys.stdout.buffer.flush()


def _first(patterns: list[str], path: str) -> int | None:
    for index, pattern in enumerate(patterns):
        try:
            if re.match(pattern, path):
                return index
        except re.error:
            continue
    return None


if __name__ == "__main__":
    serve()
