# SPDX-License-Identifier: AGPL-3.0-or-later
"""What others have put into an account, shares and storages, and what it means that one is gone or empty (pure).

A share that was taken back, a storage that an administrator removed and a disk that the server has not mounted all look
as if somebody had deleted what lay in them. Nobody has: what is on the devices is not theirs to lose by it.
"""

from collections.abc import Collection, Mapping

from harp.sync.cloud.nodes import MOUNT, Agreed, CloudPath, Local, Remote, ancestors, is_below

GONE = (
    "what was shared or mounted here is gone from the account: delete it here as well, or move it elsewhere to keep it"
)
EMPTIED = "all that was shared or mounted here is gone at once: delete it here as well, or wait until it is back"
FEWEST_EMPTIED = 3
"""With fewer files a share is emptied by somebody who wants it so."""


def lost(
    agreed: Mapping[CloudPath, Agreed],
    local: Mapping[CloudPath, Local],
    remote: Mapping[CloudPath, Remote],
    left_out: Collection[CloudPath],
) -> dict[CloudPath, str]:
    """Where this disk has what came from a share or storage that the account has no more, or empty, and why it stays.

    Where the folder that it was mounted in went as well, that one stays. ``left_out``: what is said of these already.
    """
    was_mounted = [path for path, known in agreed.items() if MOUNT in known.permissions and path in local]
    if not was_mounted:
        return {}
    numbers = {one.fileid for one in remote.values()}
    found: dict[CloudPath, str] = {}
    for path in was_mounted:
        if any(path == out or is_below(path, out) for out in left_out):
            continue
        there = remote.get(path)
        if there is not None and there.fileid == agreed[path].fileid:
            if _is_emptied(path, agreed, local, remote):
                found[path] = EMPTIED
        elif agreed[path].fileid not in numbers:
            found[next((above for above in ancestors(path) if above not in remote), path)] = GONE
    return found


def _is_emptied(
    path: CloudPath,
    agreed: Mapping[CloudPath, Agreed],
    local: Mapping[CloudPath, Local],
    remote: Mapping[CloudPath, Remote],
) -> bool:
    if any(is_below(one, path) for one in remote):
        return False
    inside = (one for one, known in agreed.items() if is_below(one, path) and not known.is_directory and one in local)
    return sum(1 for _ in inside) >= FEWEST_EMPTIED
