# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is sent: random files, edits of them, trees of small ones; and whether what arrived is the same."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.figures import MIB

FILES_A_DIRECTORY = 100
_IGNORED = {".harp", ".stfolder", ".stversions"}


def random_file(path: Path, size: int) -> None:
    """``size`` bytes that no peer has seen before."""
    with path.open("wb", buffering=0) as sink:
        for start in range(0, size, MIB):
            sink.write(os.urandom(min(MIB, size - start)))


def random_tree(root: Path, count: int, size: int) -> None:
    """``count`` files of ``size`` random bytes, a hundred in each directory."""
    for start in range(0, count, FILES_A_DIRECTORY):
        directory = root / f"{start // FILES_A_DIRECTORY:05d}"
        directory.mkdir(parents=True)
        several = min(FILES_A_DIRECTORY, count - start)
        content = os.urandom(several * size)
        for index in range(several):
            (directory / f"{index:03d}").write_bytes(content[index * size : (index + 1) * size])


def copied_file(source: Path, target: Path) -> Path:
    shutil.copyfile(source, target)
    return target


def copied_tree(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def edited_file(source: Path, target: Path, size: int) -> Path:
    """A copy with ``size`` bytes in the middle replaced by others, as an editor saves it: under a new inode."""
    copied_file(source, target)
    with target.open("r+b", buffering=0) as file:
        file.seek((target.stat().st_size - size) // 2)
        file.write(os.urandom(size))
    return target


def prefixed_file(source: Path, target: Path) -> Path:
    """A copy with one byte more in front."""
    with source.open("rb") as before, target.open("wb") as after:
        after.write(os.urandom(1))
        shutil.copyfileobj(before, after, MIB)
    return target


def settle(path: Path) -> None:
    """Bring everything to the disk, so that nobody pays for what was written before."""
    subprocess.run(["sync", "-f", str(path)], check=True)


def listing(root: Path) -> dict[str, str]:
    """Each relative path below ``root`` with the SHA-256 of its content, peers' own folders left out."""
    found = {}
    for directory, subdirectories, names in os.walk(root):
        subdirectories[:] = [name for name in subdirectories if name not in _IGNORED]
        for name in names:
            path = Path(directory, name)
            with path.open("rb") as file:
                found[str(path.relative_to(root))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def difference(a: Path, b: Path) -> str | None:
    """In one line what differs between two folders; None where they are the same."""
    return deviation(listing(a), listing(b))


def deviation(here: Mapping[str, str], there: Mapping[str, str]) -> str | None:
    """The same of two listings."""
    if here == there:
        return None
    missing, surplus = here.keys() - there.keys(), there.keys() - here.keys()
    changed = [name for name in here.keys() & there.keys() if here[name] != there[name]]
    example = next(iter([*missing, *changed, *surplus]))
    return f"{len(missing)} missing, {len(surplus)} too many, {len(changed)} with other bytes, e.g. {example!r}"


def is_same_file(a: Path, b: Path) -> bool:
    """Whether both show the same size and the same mtime to the nanosecond, without reading them."""
    try:
        here, there = a.stat(), b.stat()
    except FileNotFoundError:
        return False
    return (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns)
