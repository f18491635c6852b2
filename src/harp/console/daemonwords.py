# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the daemon says in English and pages show: with blanks where names and numbers stand. Pure.

The daemon's texts are whole sentences; a page in another language finds here which one it is. What is not here is shown
as the daemon said it. Commands to type in are no sentences, and stay as they are.
"""

import functools
import re
from collections.abc import Mapping

from harp.console import folderwords, mirrorwords, proxywords

NESTED = "why"
"""The blank that holds a sentence of its own."""
NUMBERS = frozenset({"count", "files", "free", "lost", "most", "removed", "reverted", "seconds", "used", "whole"})
"""The blanks that hold a number, which each language writes in its own way."""
SENTENCES = (
    # the names of checks
    *("daemon", "key", "port", "firewall", "discovery", "clock", "inotify watches", "inotify instances"),
    *("disk of the home", "disk of %(name)s", "peer %(name)s", "clock of %(name)s", "account %(name)s"),
    # what they found
    *("runs", "does not run; folders and peers cannot be checked"),
    *("only you can read it", "none yet; the first `harp up` makes it"),
    *("%(address)s answers", "%(address)s is free"),
    *("none found on this machine", "%(name)s lets port %(port)s in", "%(name)s keeps others from port %(port)s"),
    "%(name)s is on; if other devices cannot connect: %(remedy)s",
    *(
        "multicast works",
        "is turned off; peers are found by the addresses they had",
        "multicast does not work: %(why)s",
    ),
    *("is plausible", "is years off", "agrees to %(seconds)s s"),
    *("is %(seconds)s s ahead of this one", "is %(seconds)s s behind this one"),
    *("limit unknown here", "%(used)s of %(most)s in use"),
    "%(used)s of %(most)s in use: changes will be seen by the hourly scan only",
    *("%(free)s of %(whole)s GiB free", "%(free)s of %(whole)s GiB free; %(lacks)s"),
    *("%(free)s MiB free at %(place)s", "%(place)s is read-only"),
    *("%(count)s messages heard on %(place)s", "connected, %(address)s", "not reached: %(why)s", "not seen yet"),
    *("is being looked at for the first time", "was the same as here %(seconds)s s ago"),
    # what to do, where that is no command
    *("mount it for writing; what was to be written waits", "make room; the trash has given way already (.harp/trash)"),
    "is it on, and harp up there? Does a firewall keep TCP %(port)s out?",
    "connect to a network with multicast; until then peers are tried at addresses that worked before",
    # what is wrong with a folder
    "its owner took this device away, or ended the sharing: the files stay, and nothing more comes (harp leave)",
    *mirrorwords.SENTENCES,
    # what was done
    *("approved: the device goes on anew, with what each of its copies has", "approved %(count)s changes"),
    "approved: what the device has written so far is taken in, and its hour begins anew",
    "rejected: the device is no member any more; nothing counts that it wrote beyond what is here",
    "rejected; %(count)s files are being put back",
    "left %(name)s; its files stay at %(place)s",
    "left %(name)s; its files stay at %(place)s; not connected, and not told of it: %(devices)s",
    "the failures of %(client)s are forgotten",
    "%(name)s is forgotten here; its app password still is good",
    "%(name)s is forgotten, and its app password taken back",
    "%(name)s is forgotten; take its app password back on Nextcloud's page Security",
    *proxywords.SENTENCES,
    *folderwords.SENTENCES,
)


def _pattern(sentence: str) -> re.Pattern[str]:
    parts = re.split(r"%\((\w+)\)s", sentence)
    return re.compile(
        "".join(
            f"(?P<{part}>.{{0,500}}?)" if place % 2 else re.escape(part.replace("%%", "%"))
            for place, part in enumerate(parts)
        )
    )


def _how_exact(sentence: str) -> tuple[bool, int]:
    # "here: 5 of 9 …" is not "%(lost)s of %(files)s …"; and "5 of 9 in use" begins as "5 of 9 in use: changes …" does.
    return sentence.startswith("%("), -len(re.sub(r"%\(\w+\)s", "", sentence))


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """The most exact ones first.

    Made for the first page that needs them: no start of the daemon waits for so many to be compiled.
    """
    return [(_pattern(one), one) for one in sorted(SENTENCES, key=_how_exact)]


def recognised(text: str) -> tuple[str, Mapping[str, str]] | None:
    """Which sentence the daemon's ``text`` is, and what stands in its blanks; None for another one."""
    for pattern, sentence in _patterns():
        if found := pattern.fullmatch(text):
            return sentence, found.groupdict()
    return None
