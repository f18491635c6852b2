# SPDX-License-Identifier: AGPL-3.0-or-later
"""A disk in a file, of a kind that a test asks for; where it cannot be had, the test says why it did not run."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

DISK_BYTES = 64 * 1024 * 1024


@contextmanager
def disk(make: Sequence[str], place: Path, mount: Sequence[str] = ("mount", "-o", "loop")) -> Iterator[Path]:
    """Where it is mounted, below ``place``, until the block ends. ``make`` is the command that makes its filesystem."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    image, at = place / "image", place / "mounted"
    at.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    commands: list[Sequence[str | Path]] = [[*make, image], [*mount, image, at]]
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"{command[0]} is not installed")
        if done.returncode:
            pytest.skip(f"this machine cannot do it: {done.stderr.decode(errors='replace').strip()[:80]}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", at], check=True)
