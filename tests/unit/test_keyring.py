# SPDX-License-Identifier: AGPL-3.0-or-later
"""The key on the disk: made once, for its owner alone, and never replaced."""

import os
import stat
import threading
from pathlib import Path

import pytest

from harp.base.errors import ConfigError
from harp.identity import keyring


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_call_makes_home_and_key_and_the_next_finds_them(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"
    assert keyring.load_or_make(home).seed == keyring.load_or_make(home).seed
    assert mode(home) == 0o700
    assert mode(home / "device.key") == 0o600
    assert [path.name for path in home.iterdir()] == ["device.key"]


def test_two_homes_are_two_devices(tmp_path: Path) -> None:
    first, second = keyring.load_or_make(tmp_path / "a"), keyring.load_or_make(tmp_path / "b")
    assert first.device_id != second.device_id


def test_there_is_no_key_before_it_is_made(tmp_path: Path) -> None:
    assert keyring.load(tmp_path / "nowhere") is None
    assert keyring.permission_fault(tmp_path / "nowhere") == ""
    assert not (tmp_path / "nowhere").exists()


def test_many_starts_at_once_end_with_one_key(tmp_path: Path) -> None:
    home, barrier, seeds = tmp_path / "home", threading.Barrier(8), []

    def start() -> None:
        barrier.wait(30)
        seeds.append(keyring.load_or_make(home).seed)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seeds) == 8
    assert len(set(seeds)) == 1
    assert [path.name for path in home.iterdir()] == ["device.key"]


@pytest.mark.parametrize("open_to", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_can_reach_is_refused_and_kept(tmp_path: Path, open_to: int) -> None:
    seed = keyring.load_or_make(tmp_path / "h").seed
    (tmp_path / "h" / "device.key").chmod(open_to)
    with pytest.raises(ConfigError, match="can be read by others") as caught:
        keyring.load_or_make(tmp_path / "h")
    assert "chmod 600" in caught.value.hint
    assert "can be read by others" in keyring.permission_fault(tmp_path / "h")
    assert (tmp_path / "h" / "device.key").read_bytes() == seed


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused_and_kept(tmp_path: Path, length: int) -> None:
    path = tmp_path / "device.key"
    path.write_bytes(b"k" * length)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="not a device key"):
        keyring.load(tmp_path)
    assert path.read_bytes() == b"k" * length


def test_a_symlink_a_folder_and_a_fifo_are_no_keys(tmp_path: Path) -> None:
    real = tmp_path / "real"
    keyring.load_or_make(real)
    for name, make in (
        ("link", lambda path: path.symlink_to(real / "device.key")),
        ("dangling", lambda path: path.symlink_to(tmp_path / "nothing")),
        ("folder", lambda path: path.mkdir()),
        ("fifo", lambda path: os.mkfifo(path, 0o600)),
    ):
        home = tmp_path / name
        home.mkdir(mode=0o700)
        make(home / "device.key")
        with pytest.raises(ConfigError, match="symlink" if name in ("link", "dangling") else "not a plain file"):
            keyring.load_or_make(home)


def test_an_open_home_is_closed_but_never_someone_elses_folder(tmp_path: Path) -> None:
    empty, shared = tmp_path / "empty", tmp_path / "shared"
    empty.mkdir(mode=0o755)
    keyring.load_or_make(empty)
    assert mode(empty) == 0o700
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other things"):
        keyring.load_or_make(shared)
    assert mode(shared) == 0o755


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="not a folder"):
        keyring.load_or_make(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be made"):
        keyring.load_or_make(tmp_path / "file" / "home")
