# SPDX-License-Identifier: AGPL-3.0-or-later
"""The state of a mirror as the API's nouns."""

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from harp.bridge import model, naming
from harp.bridge.model import FolderState, FolderStatus, HeldSet, MirrorState, MirrorStatus
from harp.bridge.selftest import MAX_SKEW_S, MirrorFacts
from harp.sync.cloud.claims import Claim
from harp.sync.cloud.refusals import LoginError
from harp.sync.service.mirrorloop import MirrorLoop
from harp.sync.store.accounts import Account, Mirrored

MOST_NAMED = 5


def status(
    mirrored: Mirrored, account: Account | None, loop: MirrorLoop | None, others: Sequence[str] = ()
) -> MirrorStatus:
    """``account`` is None where it is gone, ``loop`` where the folder is not open.

    ``others`` are the people for whom this daemon mirrors some of the same files, which they share.
    """
    error, remedy = _wrong(mirrored, account, loop)
    return MirrorStatus(
        account=mirrored.account,
        path=mirrored.path,
        state=MirrorState.WAITING if loop is None else _state(loop),
        error=naming.printable(error),
        remedy=naming.printable(remedy),
        note=naming.printable(_shared(others)),
        settled_at=None if loop is None else loop.settled_s,
        changes=0 if loop is None else loop.steps,
    )


def _state(loop: MirrorLoop) -> MirrorState:
    if loop.question:
        return MirrorState.ASKING
    if isinstance(loop.trouble, LoginError):
        return MirrorState.STOPPED
    if loop.is_working:
        return MirrorState.WORKING
    return MirrorState.WAITING if loop.trouble or loop.standing or loop.settled_s is None else MirrorState.SAME


def _wrong(mirrored: Mirrored, account: Account | None, loop: MirrorLoop | None) -> tuple[str, str]:
    """What a person has to know, and what to do about it."""
    if account is None:
        return f"there is no account {mirrored.account} any more", f"harp account add {mirrored.account} URL"
    if loop is None:
        return "", ""
    if loop.trouble is None and not loop.question:
        warnings = [one for one in (_met(mirrored, loop.rivals), _skewed(account, loop.skew_s)) if one[0]]
        return "; ".join(error for error, _ in warnings), "; ".join(remedy for _, remedy in warnings)
    if loop.question:
        return f"{mirrored.account}: {loop.question}", "harp held NAME says more; then harp approve or harp reject"
    assert loop.trouble is not None
    if isinstance(loop.trouble, LoginError):
        return (
            f"{account.name}: the app password of {account.user} was revoked, or is wrong",
            f"harp account add {account.name} {account.url}",
        )
    return f"{account.name}: {loop.trouble.message}", loop.trouble.hint


def _shared(others: Sequence[str]) -> str:
    """That a folder is several people's, and is kept the same for each of them."""
    if not others:
        return ""
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    return (
        f"what is shared in it is mirrored here for {', '.join(others[:MOST_NAMED])}{more} too: each change is written"
        " into Nextcloud once, and lies on this disk for each of you"
    )


def _met(mirrored: Mirrored, rivals: Sequence[Claim]) -> tuple[str, str]:
    """That others mirror the same files, and what to do about it."""
    if not rivals:
        return "", ""
    who = ", ".join(sorted(f"{one.device} ({one.path})" for one in rivals))
    return (
        f"{mirrored.account}:{mirrored.path} is mirrored by another daemon too: {who}",
        "nothing is lost, but all is done twice: leave it on one of them (harp leave NAME), and join it there instead",
    )


def _skewed(account: Account, skew_s: float) -> tuple[str, str]:
    """That the clocks are apart, by which people tell the newer of two files."""
    if abs(skew_s) <= MAX_SKEW_S:
        return "", ""
    direction = "behind" if skew_s > 0 else "ahead of"
    return (
        f"{account.name}: this device's clock is {abs(skew_s) / 60:.0f} minutes {direction} Nextcloud's",
        "here or there: sudo timedatectl set-ntp true",
    )


def with_mirror(folder: FolderStatus, mirror: MirrorStatus, problems: Iterable[tuple[str, str]]) -> FolderStatus:
    """A folder's status with what concerns its mirror."""
    told = [model.Problem(path=naming.printable(path), why=naming.printable(why)) for path, why in problems]
    is_asked = mirror.state is MirrorState.ASKING
    may_be_called_held = is_asked and folder.state in (FolderState.IDLE, FolderState.SYNCING)
    return msgspec.structs.replace(
        folder,
        mirror=mirror,
        state=FolderState.HELD if may_be_called_held else folder.state,
        held=folder.held + is_asked,
        error=folder.error or mirror.error,
        problems=(folder.problems + told)[: model.MOST_PROBLEMS],
        problem_count=folder.problem_count + len(told),
    )


def held(mirrored: Mirrored, loop: MirrorLoop) -> HeldSet:
    """What a person decides about a mirror that asks."""
    where = f"{mirrored.account}:{mirrored.path}"
    return HeldSet(
        id=held_id(loop),
        kind="account",
        what=naming.printable(f"{where}: {loop.question}"),
        can_be_approved=loop.can_follow,
        remedy=(
            "harp approve: do here what happened there; harp reject: put both sides together, nothing is removed"
            if loop.can_follow
            else "bring it back in Nextcloud, and it goes on; harp reject makes it there anew; or harp leave"
        ),
    )


def held_id(loop: MirrorLoop) -> str:
    """Bound to what is asked: another question has another."""
    return f"account-{hashlib.sha256(loop.question.encode()).hexdigest()[:8]}"


def facts(mirror: MirrorStatus, near_trouble: str) -> MirrorFacts:
    """For the self-test."""
    where = f"{mirror.account}:{mirror.path}"
    return MirrorFacts(where, mirror.settled_at, mirror.error, mirror.remedy, near_trouble, mirror.note)
