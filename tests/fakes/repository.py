# SPDX-License-Identifier: AGPL-3.0-or-later
"""A git repository with a history as people make them: edits, renames, deletions, modes, symlinks, binary files."""

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

_FILE, _PROGRAM, _SYMLINK = "100644", "100755", "120000"
_WORDS = (
    "def",
    "return",
    "value",
    "for",
    "each",
    "in",
    "range",
    "if",
    "path",
    "name",
    "self",
    "chunk",
    "batch",
    "None",
)
_NAMES = ("api", "core", "docs", "images", "tests", "notes of mine", "über")


def git(*words: str, cwd: Path, given: bytes | None = None) -> str:
    """What git prints, run without anybody's settings. Raises CalledProcessError and OSError."""
    environ = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    for key in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        environ.pop(key, None)
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", *words], cwd=cwd, input=given, capture_output=True, check=True, env=environ
    )
    return done.stdout.decode()


def commits_of(repository: Path) -> list[str]:
    """The commits that lead to HEAD, each upon the one before, the oldest first; none where there is no repository."""
    try:
        return git("rev-list", "--reverse", "--first-parent", "HEAD", cwd=repository).split()
    except (OSError, subprocess.CalledProcessError):
        return []


def made(place: Path, commits: int, *, seed: int) -> Path:
    """A repository of so many commits, the same for the same seed. Every kind of change occurs within ten of them."""
    place.mkdir()
    git("init", "-q", "--bare", cwd=place)
    history = _History(random.Random(seed))
    git("fast-import", "--quiet", cwd=place, given=b"".join(history.commit(number) for number in range(commits)))
    git("symbolic-ref", "HEAD", "refs/heads/main", cwd=place)
    return place


class _History:
    """The tree as it is, and what each commit does to it, in the words of git-fast-import(1)."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._tree: dict[str, tuple[str, bytes]] = {}
        self._before: dict[str, tuple[str, bytes]] = {}

    def commit(self, number: int) -> bytes:
        kinds: list[Callable[[], None]] = [
            self._binary,
            self._rename,
            self._delete,
            self._mode,
            self._symlink,
            self._rename_directory,
            self._another_kind,
            self._copy,
            self._empty,
            self._revert,
        ]
        self._before, before = dict(self._tree), dict(self._tree)
        for _ in range(self._chance.randint(1, 4) if number else 30):
            self._source()
        kinds[number % len(kinds)]()
        message = b"commit %d" % number
        lines = [
            b"commit refs/heads/main\ncommitter t <t@example.org> %d +0000\n" % (1_700_000_000 + number),
            b"data %d\n%s\n" % (len(message), message),
        ]
        lines += [b"D %s\n" % _quoted(path) for path in before if path not in self._tree]
        for path, (mode, content) in self._tree.items():
            if before.get(path) != (mode, content):
                lines.append(b"M %s inline %s\n" % (mode.encode(), _quoted(path)))
                lines.append(b"data %d\n%s\n" % (len(content), content))
        return b"".join(lines)

    # --- what is done -------------------------------------------------------------------------------------------------

    def _source(self) -> None:
        """A text file is written, or edited somewhere in its middle."""
        path = self._one(lambda mode, content: mode != _SYMLINK and not content.startswith(b"\0"))
        if path is None or self._chance.random() < 0.4:
            self._put(self._new(".py"), _FILE, self._lines(self._chance.randint(1, 120)))
            return
        mode, content = self._tree[path]
        lines = content.splitlines(keepends=True)
        at = self._chance.randint(0, len(lines))
        lines[at : at + self._chance.randint(0, 3)] = self._lines(self._chance.randint(1, 5)).splitlines(keepends=True)
        self._put(path, mode, b"".join(lines))

    def _binary(self) -> None:
        """An image is added, or some of its bytes change; some are of several chunks."""
        path = self._one(lambda mode, content: content.startswith(b"\0"))
        if path is None or self._chance.random() < 0.5:
            self._put(
                self._new(".png"), _FILE, b"\0" + self._chance.randbytes(self._chance.choice((900, 90_000, 700_000)))
            )
            return
        mode, content = self._tree[path]
        at = self._chance.randrange(1, len(content))
        self._put(path, mode, content[:at] + self._chance.randbytes(10) + content[at:])

    def _rename(self) -> None:
        path = self._one()
        if path is not None:
            self._put(self._new(Path(path).suffix), *self._tree.pop(path))

    def _rename_directory(self) -> None:
        tops = sorted({path.split("/")[0] for path in self._tree if "/" in path})
        old, new = self._chance.choice(tops), f"{self._chance.choice(_NAMES)} {self._chance.randrange(100)}"
        for path in [path for path in self._tree if path.startswith(f"{old}/")]:
            self._put(new + path[len(old) :], *self._tree.pop(path))

    def _copy(self) -> None:
        path = self._one()
        if path is not None:
            self._put(self._new(Path(path).suffix), *self._tree[path])

    def _delete(self) -> None:
        for _ in range(self._chance.randint(1, 3)):
            path = self._one()
            if path is not None:
                del self._tree[path]

    def _mode(self) -> None:
        path = self._one(lambda mode, content: mode != _SYMLINK)
        if path is not None:
            mode, content = self._tree[path]
            self._put(path, _FILE if mode == _PROGRAM else _PROGRAM, content)

    def _symlink(self) -> None:
        path = self._one() or "nowhere"
        self._put(self._new(".link"), _SYMLINK, self._chance.choice((path, f"../{path}", "/nowhere")).encode())

    def _another_kind(self) -> None:
        """A file becomes a directory, or a symlink."""
        path = self._one(lambda mode, content: mode != _SYMLINK)
        if path is not None:
            mode, content = self._tree.pop(path)
            if self._chance.random() < 0.5:
                self._put(f"{path}/inside", mode, content)
            else:
                self._put(path, _SYMLINK, b"elsewhere")

    def _empty(self) -> None:
        self._put(self._new(".keep"), _FILE, b"")

    def _revert(self) -> None:
        """All that this commit did so far is undone, but for one file: what was deleted last time may come back."""
        self._tree = dict(self._before)
        self._put(self._new(".txt"), _FILE, self._lines(3))

    # --- the tree -----------------------------------------------------------------------------------------------------

    def _put(self, path: str, mode: str, content: bytes) -> None:
        """What is in the way, above or below, makes room as it does in git."""
        parts = path.split("/")
        above = {"/".join(parts[:end]) for end in range(1, len(parts))}
        for other in [other for other in self._tree if other in above or other.startswith(f"{path}/")]:
            del self._tree[other]
        self._tree[path] = mode, content

    def _one(self, fits: Callable[[str, bytes], bool] = lambda mode, content: True) -> str | None:
        fitting = sorted(path for path, (mode, content) in self._tree.items() if fits(mode, content))
        return self._chance.choice(fitting) if fitting else None

    def _new(self, suffix: str) -> str:
        depth = self._chance.randint(1, 3)
        parts = [self._chance.choice(_NAMES) for _ in range(depth)]
        return "/".join([*parts, f"file {self._chance.randrange(10_000)}{suffix}"])

    def _lines(self, count: int) -> bytes:
        return b"".join(" ".join(self._chance.choices(_WORDS, k=8)).encode() + b"\n" for _ in range(count))


def _quoted(path: str) -> bytes:
    return b'"' + path.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
