# SPDX-License-Identifier: AGPL-3.0-or-later
"""What to do so that disk and account become the same: a pure function of both and of where they last agreed.

Three rules. A side that is as it was follows the one that changed. Where both changed, the account keeps the name and
the disk's version is set aside under a conflict's name, from where it goes up as well. An edit beats a deletion, and a
directory lives while anything below it lives. Every action carries the state it was planned from; who carries it out
refuses it where that state is no more, and plans anew.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TypeVar

from harp.sync.cloud.nodes import (
    MOUNT,
    Agreed,
    CloudPath,
    Etag,
    FileId,
    Local,
    Remote,
    ancestors,
    is_below,
    moved,
    parent,
)
from harp.sync.cloud.steps import (
    Action,
    Agree,
    Download,
    Forget,
    MakeLocal,
    MakeRemote,
    MoveLocal,
    MoveRemote,
    Plan,
    Reconcile,
    Refuse,
    RemoveLocal,
    RemoveRemote,
    SetAside,
    SetAsideRemote,
    Upload,
)

_T = TypeVar("_T")
_NO_FILES = "this account may not add files to that folder"
_NO_FOLDERS = "this account may not add folders to that folder"


def plan(
    agreed: Mapping[CloudPath, Agreed],
    local: Mapping[CloudPath, Local],
    remote: Mapping[CloudPath, Remote],
    unmovable: Collection[CloudPath] = (),
) -> Plan:
    """The plan; it is empty where both sides are the same and agreed.

    ``unmovable`` are targets of renames on the disk that the account refused.
    """
    board = _Board(dict(agreed), dict(local), dict(remote))
    _find_local_moves(board, unmovable)
    _find_remote_moves(board)
    if board.moves:
        # What moved may have been changed as well: that is seen, and planned, once it lies where it belongs.
        return Plan(tuple(board.moves), (), (), ())
    return _planned(board)


@dataclass(slots=True)
class _Board:
    """The three trees, as they will be once ``moves`` are done."""

    agreed: dict[CloudPath, Agreed]
    local: dict[CloudPath, Local]
    remote: dict[CloudPath, Remote]
    moves: "list[MoveRemote | MoveLocal | MakeRemote | MakeLocal]"

    def __init__(
        self, agreed: dict[CloudPath, Agreed], local: dict[CloudPath, Local], remote: dict[CloudPath, Remote]
    ) -> None:
        self.agreed, self.local, self.remote, self.moves = agreed, local, remote, []


def _find_local_moves(board: _Board, unmovable: Collection[CloudPath]) -> None:
    gone = {known.local.inode: path for path, known in board.agreed.items() if path not in board.local}
    if not gone:
        return
    for target in sorted(board.local):
        found = board.local[target]
        source = gone.get(found.inode)
        known = None if source is None or target in board.agreed else board.agreed.get(source)
        if source is None or known is None or known.local != found or target in board.remote or target in unmovable:
            continue
        there = board.remote.get(source)
        if there is None or not is_same(there, known) or is_below(target, source):
            continue
        is_renamed = parent(source) == parent(target)
        if not there.may("N" if is_renamed else "V") or not (is_renamed or _makes_parents(board, target, found)):
            continue
        board.moves.append(MoveRemote(source, target, there))
        _rewrite(board.agreed, source, target)
        _rewrite(board.remote, source, target)
        gone = {known.local.inode: path for path, known in board.agreed.items() if path not in board.local}


def _find_remote_moves(board: _Board) -> None:
    gone = {known.fileid: path for path, known in board.agreed.items() if path not in board.remote}
    if not gone:
        return
    for target in sorted(board.remote):
        found = board.remote[target]
        source = gone.get(found.fileid)
        known = None if source is None or target in board.agreed else board.agreed.get(source)
        if source is None or known is None or known.is_directory != found.is_directory or target in board.local:
            continue
        here = board.local.get(source)
        if here != known.local or not _has_parent(board.local, target) or is_below(target, source):
            continue
        board.moves.append(MoveLocal(source, target, known.local))
        _rewrite(board.agreed, source, target)
        _rewrite(board.local, source, target)
        gone = {known.fileid: path for path, known in board.agreed.items() if path not in board.remote}


def _makes_parents(board: _Board, target: CloudPath, moved_there: Local) -> bool:
    """Whether the account has the folders above ``target``, or the plan makes those that are new on the disk."""
    missing = [above for above in ancestors(target) if above not in board.remote]
    for above in missing:
        here = board.local.get(above)
        if here is None or not here.is_directory or above in board.agreed:
            return False
    holder = board.remote.get(parent(missing[0] if missing else target))
    letter = "K" if missing or moved_there.is_directory else "C"
    if holder is not None and (not holder.is_directory or not holder.may(letter)):
        return False
    for above in missing:
        board.moves.append(MakeRemote(above))
        board.remote[above] = Remote(True, FileId(""), Etag(""))
    return True


def _has_parent(tree: Mapping[CloudPath, Local] | Mapping[CloudPath, Remote], path: CloudPath) -> bool:
    above = parent(path)
    return not above or (above in tree and tree[above].is_directory)


def _rewrite(tree: MutableMapping[CloudPath, _T], source: CloudPath, target: CloudPath) -> None:
    taken = [(path, tree[path]) for path in tree if path == source or is_below(path, source)]
    for path, _ in taken:
        del tree[path]
    for path, value in taken:
        tree[moved(path, source, target)] = value


def is_same(there: Remote, known: Agreed) -> bool:
    """Whether the account has at a path what both sides agreed on."""
    if there.is_directory or known.is_directory:
        return there.is_directory == known.is_directory
    # Nextcloud has been seen to keep the etag of a file that was overwritten within the same second.
    return (there.etag, there.fileid, there.size) == (known.etag, known.fileid, known.local.size)


def _planned(board: _Board) -> Plan:
    files: list[Action] = []
    removals = _take_leaves(board)
    lives: set[CloudPath] = set()
    directories: list[CloudPath] = []
    for path in sorted(board.agreed.keys() | board.local.keys() | board.remote.keys()):
        here, there, known = board.local.get(path), board.remote.get(path), board.agreed.get(path)
        if _concerns_directory(here, there, known):
            directories.append(path)
            continue
        action = _for_file(path, here, there, known, board)
        if isinstance(action, RemoveLocal | RemoveRemote):
            removals.append(action)
            continue
        if action is not None:
            files.append(action)
        if not isinstance(action, Forget):
            lives.update(ancestors(path))
    makes: list[MakeRemote | MakeLocal] = []
    for path in reversed(directories):
        _for_directory(path, board, lives, makes, files, removals)
    clashes = [path for path in directories if _is_clash(board.local.get(path), board.remote.get(path))]
    if clashes:
        # What is to lie below waits until the name above is free: the next plan has it.
        files = [one for one in files if not _is_below_any(one, clashes)]
        makes = [one for one in makes if not _is_below_any(one, clashes)]
    makes.sort(key=lambda action: (action.path.count("/"), action.path))
    removals.sort(key=lambda action: (action.path.count("/"), action.path), reverse=True)
    return Plan((), tuple(makes), tuple(files), tuple(removals))


def _take_leaves(board: _Board) -> list[RemoveRemote | RemoveLocal]:
    """Of shares whose folder is gone from the disk: not of what lies in them, which is somebody else's."""
    leaves: list[RemoveRemote | RemoveLocal] = []
    for path, there in list(board.remote.items()):
        is_share = there.is_directory and there.may(MOUNT) and path in board.remote
        if not is_share or path not in board.agreed or path in board.local:
            continue
        inside = [one for one in board.remote if is_below(one, path)]
        is_as_was = all(one in board.agreed and is_same(board.remote[one], board.agreed[one]) for one in inside)
        if is_as_was and not any(is_below(one, path) for one in board.local):
            leaves.append(RemoveRemote(path, there))
            for one in (path, *inside):
                del board.remote[one]
                board.agreed.pop(one, None)
        else:
            # Somebody changed something in it meanwhile: all of it comes back.
            for one in (path, *inside):
                board.agreed.pop(one, None)
    return leaves


def _concerns_directory(here: Local | None, there: Remote | None, known: Agreed | None) -> bool:
    if here is not None or there is not None:
        return bool((here is not None and here.is_directory) or (there is not None and there.is_directory))
    return known is not None and known.is_directory


def _for_file(
    path: CloudPath, here: Local | None, there: Remote | None, known: Agreed | None, board: _Board
) -> Action | None:
    if known is not None and known.is_directory:
        known = None
    is_here_as_was = known is not None and here == known.local
    is_there_as_was = known is not None and there is not None and is_same(there, known)
    if here is None and there is None:
        return Forget(path)
    if there is None:
        assert here is not None
        return RemoveLocal(path, here) if is_here_as_was else _upload_new(path, here, board)
    if here is None:
        if not is_there_as_was:
            return Download(path, there, None)
        return RemoveRemote(path, there) if there.may("D") else Download(path, there, None)
    if is_here_as_was:
        return None if is_there_as_was else Download(path, there, here)
    if is_there_as_was:
        return Upload(path, here, there) if there.may("W") else Refuse(path, "this account may not change it")
    return Reconcile(path, here, there)


def _upload_new(path: CloudPath, here: Local, board: _Board) -> Action:
    above = board.remote.get(parent(path))
    if above is not None and not above.may("C"):
        return Refuse(path, _NO_FILES)
    if above is None and not _may_make(parent(path), board):
        return Refuse(path, _NO_FOLDERS)
    return Upload(path, here, None)


def _may_make(path: CloudPath, board: _Board) -> bool:
    """Whether the folder may be made in the nearest one above that is there."""
    above = next((board.remote[one] for one in reversed(ancestors(path)) if one in board.remote), None)
    return above is None or above.may("K")


def _for_directory(
    path: CloudPath,
    board: _Board,
    lives: set[CloudPath],
    makes: list[MakeRemote | MakeLocal],
    files: list[Action],
    removals: list[RemoveRemote | RemoveLocal],
) -> None:
    """Decides one directory; those below it are decided already."""
    here, there, known = board.local.get(path), board.remote.get(path), board.agreed.get(path)
    if _clashes(path, here, there, known, lives, files, removals):
        lives.update(ancestors(path))
        return
    was = known is not None and known.is_directory
    both = here is not None and there is not None
    is_kept = path in lives or both or (not was and (here is not None or there is not None))
    if not is_kept and there is not None and not there.may("D"):
        is_kept = True
    if not is_kept:
        if here is not None:
            removals.append(RemoveLocal(path, here))
        elif there is not None:
            removals.append(RemoveRemote(path, there))
        else:
            files.append(Forget(path))
        return
    lives.update(ancestors(path))
    if here is None:
        makes.append(MakeLocal(path))
    if there is None:
        if _may_make(path, board):
            makes.append(MakeRemote(path))
        else:
            files.append(Refuse(path, _NO_FOLDERS))
    if here is not None and there is not None and (known is None or not was or _is_other(known, here, there)):
        files.append(Agree(path, here, there))


def _is_other(known: Agreed, here: Local, there: Remote) -> bool:
    return known.local.inode != here.inode or known.fileid != there.fileid


def _is_clash(here: Local | None, there: Remote | None) -> bool:
    return here is not None and there is not None and here.is_directory != there.is_directory


def _is_below_any(action: Action, directories: Iterable[CloudPath]) -> bool:
    path = action.target if isinstance(action, MoveLocal | MoveRemote) else action.path
    return any(is_below(path, directory) for directory in directories)


def _clashes(
    path: CloudPath,
    here: Local | None,
    there: Remote | None,
    known: Agreed | None,
    lives: set[CloudPath],
    files: list[Action],
    removals: list[RemoveRemote | RemoveLocal],
) -> bool:
    """A file on one side where the other has a directory: whichever way, the next round finds the name free."""
    if here is None or there is None or not _is_clash(here, there):
        return False
    if there.is_directory:
        is_as_was = known is not None and here == known.local
        if is_as_was:
            removals.append(RemoveLocal(path, here))
        else:
            files.append(SetAside(path, here))
    elif known is not None and is_same(there, known):
        removals.append(RemoveRemote(path, there))
    elif path in lives or known is None or not known.is_directory:
        files.append(SetAsideRemote(path, there))
    else:
        removals.append(RemoveLocal(path, here))
    return True


# --- what cannot be held there ----------------------------------------------------------------------------------------


def unnameable(
    local: Mapping[CloudPath, Local], remote: Mapping[CloudPath, Remote], refusal: Callable[[str], str]
) -> dict[CloudPath, str]:
    """What the server will not have by its name, and why; what it has all the same is none of that."""
    found: dict[CloudPath, str] = {}
    for path in sorted(local):
        why = "" if path in remote else refusal(path.rpartition("/")[2])
        if why and not any(above in found for above in ancestors(path)):
            found[path] = why
    return found


def renamed_out(
    agreed: Mapping[CloudPath, Agreed], local: Mapping[CloudPath, Local], left_out: Collection[int]
) -> dict[CloudPath, str]:
    """What lies on this disk under a name that the account cannot have: there it is not taken for removed."""
    return {
        path: "its new name on this disk is one that Nextcloud cannot have"
        for path, known in agreed.items()
        if path not in local and known.local.inode in left_out
    }


def differing(agreed: Mapping[CloudPath, Agreed], remote: Mapping[CloudPath, Remote]) -> list[CloudPath]:
    """The paths at which the account has something else than both sides had when they last agreed."""
    changed = (path for path, there in remote.items() if path not in agreed or not is_same(there, agreed[path]))
    return [*changed, *(path for path in agreed if path not in remote)]


def folder_marks(
    walked: Mapping[CloudPath, Etag], unsettled: Iterable[CloudPath], agreed: Mapping[CloudPath, Agreed]
) -> dict[CloudPath, Etag]:
    """The folders whose etag may be kept, so that the next walk passes them by: all below them is agreed.

    ``unsettled`` is all that differed when they were listed, planned for or not, and all that was done since.
    """
    dirty = {CloudPath("")} if (touched := set(unsettled)) else set()
    for path in touched:
        dirty.add(path)
        dirty.update(ancestors(path))
    return {path: etag for path, etag in walked.items() if path not in dirty and (not path or path in agreed)}
