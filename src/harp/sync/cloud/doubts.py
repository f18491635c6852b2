# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is not done unasked: a server that went back in time, an account that is suddenly all but empty (pure)."""

from collections.abc import Iterable, Mapping

from harp.sync.cloud.nodes import Agreed, CloudPath, Remote
from harp.sync.cloud.plan import is_same
from harp.sync.cloud.steps import Action, Download, Plan, RemoveLocal, RemoveRemote

FEWEST_GONE_BACK = 3
YOUNGEST_BACKUP_S = 60.0
"""By less, files go back where two people write the same ones at once and the server keeps what came last."""
MOST_REMOVED = 0.3
FEWEST_REMOVED = 20


def looks_restored(agreed: Mapping[CloudPath, Agreed], remote: Mapping[CloudPath, Remote], slack_s: float = 0.0) -> str:
    """Why the account looks as if Nextcloud had been brought back from a backup; empty if it does not.

    A restored server has older versions of the files that were changed since, under the same numbers, and none of the
    files that came since. One file that goes back is what a person does; several, and nothing newer, are a restore.
    ``slack_s``: so far apart are the clocks of the server and of this device, by which older is told from newer.
    """
    changed = [
        (known, remote[path])
        for path, known in agreed.items()
        if path in remote and not known.is_directory and not is_same(remote[path], known)
    ]
    before_s = YOUNGEST_BACKUP_S + slack_s
    back = sum(there.mtime_s < known.local.mtime_s - before_s for known, there in changed)
    if back >= FEWEST_GONE_BACK and back * 2 > len(changed):
        return f"{back} files went back to older versions at once"
    return ""


def takes_from_disk(chosen: Plan) -> bool:
    """Whether any version of a file that lies on this disk would lie there no more."""
    return any(isinstance(one, RemoveLocal) for one in chosen.removals) or any(
        isinstance(one, Download) and one.over is not None for one in chosen.files
    )


def is_exodus(removals: Iterable[Action]) -> bool:
    """Whether so many files are to go from the account at once that somebody should look twice."""
    return sum(isinstance(one, RemoveRemote) and not one.remote.is_directory for one in removals) >= FEWEST_REMOVED


def looks_emptied(agreed: Mapping[CloudPath, Agreed], removals: Iterable[Action]) -> str:
    """Why so many deletions on this disk are asked about first; empty for a few."""
    gone = sum(isinstance(one, RemoveLocal) and not one.local.is_directory for one in removals)
    files = sum(not known.is_directory for known in agreed.values())
    if gone >= FEWEST_REMOVED and gone > files * MOST_REMOVED:
        return f"{gone} of {files} files are gone from the account at once"
    return ""
