# SPDX-License-Identifier: AGPL-3.0-or-later
"""The facts about this machine, looked up on this machine."""

import ctypes
import os
import socket
from pathlib import Path

import pytest

from harp.base import config
from harp.base.config import Address
from harp.base.runtime import SystemClock
from harp.bridge import facts, selftest
from harp.identity import keyring


def test_a_port_that_answers_and_one_that_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = Address("127.0.0.1", server.getsockname()[1])
        assert facts.port(here, here).fault == ""
        assert facts.port(here, Address("0.0.0.0", here.port)).fault == ""
        assert "in use" in facts.port(here, None).fault
    assert "refused" in facts.port(here, here).fault
    assert facts.port(here, None).fault == ""


def test_the_watches_of_this_process_are_counted(tmp_path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(0)
    assert handle >= 0
    try:
        assert libc.inotify_add_watch(handle, os.fsencode(tmp_path), 0x100) >= 0
        found = facts.watches()
    finally:
        os.close(handle)
    # Other processes of this user come and go meanwhile; this one instance and its watch are there for sure.
    assert (found.used_watches or 0) >= 1
    assert (found.used_instances or 0) >= 1
    assert (found.max_watches or 0) > 1
    assert (found.max_instances or 0) > 1


def test_a_disk_is_found_under_a_folder_that_is_not_made_yet(tmp_path: Path) -> None:
    found = facts.disk("home", tmp_path / "not" / "yet")
    assert 0 < found.free_bytes <= found.total_bytes
    assert not found.is_read_only
    assert found.location == str(tmp_path / "not" / "yet")


def test_all_that_is_gathered_can_be_judged(tmp_path: Path) -> None:
    keyring.load_or_make(tmp_path / "h")
    settings = config.load(tmp_path / "h", environ={}, overrides={"listen": "127.0.0.1:0"})
    gathered = facts.gathered(settings, clock=SystemClock(), listening=None)
    assert gathered.has_key
    assert gathered.key_fault == ""
    assert gathered.port.fault == ""
    names = [check.name for check in selftest.report(gathered, None).checks]
    assert names[:6] == ["daemon", "key", "port", "firewall", "discovery", "clock"]
    (tmp_path / "h" / "device.key").chmod(0o644)
    assert "read by others" in facts.gathered(settings, clock=SystemClock(), listening=None).key_fault


def test_discovery_that_is_turned_off_is_not_tried(tmp_path: Path) -> None:
    settings = config.load(tmp_path, environ={}, overrides={"listen": "127.0.0.1:0", "discovery": "false"})
    assert facts.gathered(settings, clock=SystemClock(), listening=None).multicast_fault is None


def test_ufw_rules_are_read_as_far_as_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = "### tuple ### allow tcp 8783 0.0.0.0/0 any 0.0.0.0/0 in\n"
    texts = {"/etc/ufw/ufw.conf": "ENABLED=yes\n", "/etc/ufw/user.rules": rules}

    def read_text(path: Path, **_: object) -> str:
        if str(path) not in texts:
            raise PermissionError(13, "Permission denied")
        return texts[str(path)]

    monkeypatch.setattr(Path, "read_text", read_text)
    assert facts.firewall(8783) == selftest.FirewallFacts("ufw", lets_in=True)
    assert facts.firewall(9) == selftest.FirewallFacts("ufw", lets_in=False)
    del texts["/etc/ufw/user.rules"]
    assert facts.firewall(8783) == selftest.FirewallFacts("ufw", lets_in=None)
    texts["/etc/ufw/ufw.conf"] = "ENABLED=no\n"
    assert facts.firewall(8783).name != "ufw"
