# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp wait``: until a folder's devices, and the account that it mirrors, durably have the same."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

import msgspec

from harp.bridge import naming
from harp.bridge.model import MirrorStatus, Phase, Progress
from harp.daemon import portraits
from harp.sync.cloud.refusals import BusyError, LoginError
from harp.sync.service.folderloop import FolderLoop
from harp.sync.service.mirrorloop import MirrorLoop

PROGRESS_S = 0.1
_FIRST_PAUSE_S = 0.002


class MirroredAccount:
    """The account that a folder mirrors, asked while the folder is at rest. ``told`` is what `harp status` says of it.

    It has the same once a look at both sides, begun after the folder came to rest, found nothing to carry. One that
    did carry something may have brought it to the folder, whose devices have to get it before the next look.
    """

    def __init__(self, mirror: Callable[[], MirrorLoop | None], told: Callable[[], MirrorStatus]) -> None:
        """``mirror``: the loop that runs now; a new password for the account starts another one."""
        self._current = mirror
        self._told = told
        self._mirror: MirrorLoop | None = None
        self._look: asyncio.Future[None] | None = None
        self._steps = 0

    def progress(self, folder: Progress) -> Progress:
        """``folder`` is how far the folder is: done."""
        is_another, mirror = self._mirror is not (found := self._current()), found
        if mirror is None:
            return msgspec.structs.replace(folder, phase=Phase.SYNCING)
        # A server that asks for patience is asked again by the mirror itself, and so it is here.
        is_busy = isinstance(mirror.trouble, BusyError)
        if is_another or self._look is None or (self._look.done() and (is_busy or mirror.steps != self._steps)):
            self._mirror, self._look, self._steps = mirror, mirror.look(), mirror.steps
        if is_busy or not (self._look.done() or mirror.question or isinstance(mirror.trouble, LoginError)):
            return msgspec.structs.replace(folder, phase=Phase.SYNCING)
        if mirror.trouble is not None or mirror.question:
            told = self._told()
            return _failed(told.error, told.remedy)
        if mirror.problems:
            path, why = min(mirror.problems.items())
            more = f", and {len(mirror.problems) - 1} more" if len(mirror.problems) > 1 else ""
            return _failed(
                f"not the same in the account: {naming.printable(path)}: {naming.printable(why)}{more}",
                "`harp status` names all of them",
            )
        return folder

    @property
    def disagreement(self) -> str:
        """Why waiting has not come to an end."""
        return self._told().error or "the account is still being looked at"


async def until_same(
    loop: FolderLoop, account: MirroredAccount | None, timeout_s: float | None
) -> AsyncIterator[Progress]:
    """Scans the folder, then tells how far all are; the last one is done or failed. Raises :class:`FolderError`."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    await asyncio.wrap_future(loop.call(loop.observer.scan))
    look = partial(portraits.progress, loop, has_account=account is not None)
    pause_s = _FIRST_PAUSE_S
    while True:
        progress = await asyncio.wrap_future(loop.call(look))
        is_at_rest = progress.phase is Phase.DONE
        if account is not None and is_at_rest:
            progress = account.progress(progress)
        if progress.phase.is_last:
            yield progress
            return
        if deadline is not None and time.monotonic() > deadline:
            if account is not None and is_at_rest:
                reason = account.disagreement
            else:
                reason = await asyncio.wrap_future(loop.call(lambda: portraits.disagreement(loop)))
            yield _failed(f"not within {timeout_s:g} s: {reason}", "`harp status` and `harp peers` say more")
            return
        yield progress
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, PROGRESS_S)


def _failed(reason: str, hint: str) -> Progress:
    return Progress(phase=Phase.FAILED, reason=reason, hint=hint)
