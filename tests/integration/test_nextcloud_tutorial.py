# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tutorial "Harp with your Nextcloud in ten minutes": its commands in their order, against a stand-in."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.cloudserver import standing
from tests.fakes.webdav import Account
from tests.integration.office import Desk, Office, until

TEXT = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "nextcloud-in-ten-minutes.md"
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
VARIES = re.compile(
    r"harp1[a-z2-7]+|https?://[\w.:/-]+|\b[0-9a-f]{8,64}\b|\b[A-Z2-7]{7}(?:-[A-Z2-7]{7}){7}\b"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d+\.\d+\.\d+\.\d+:\d+|/[\w./-]+|[\d,]+ files?|[\d.]+ [GKM]?i?B\b"
    r"|\b(?:ada|alice)\b"
)


def steps() -> list[tuple[str, str, str]]:
    """(device, command, what it prints) of each command in the tutorial."""
    found: list[tuple[str, str, str]] = []
    for console in CONSOLE.findall(TEXT.read_text(encoding="utf-8")):
        for line in console.splitlines():
            prompt = re.match(r"(hub|laptop)\$ harp (.*)", line)
            if prompt:
                found.append((prompt[1], prompt[2], ""))
            else:
                device, command, said = found[-1]
                found[-1] = (device, command, f"{said}{line}\n")
    return found


def plain(text: str) -> list[str]:
    """Lines without what is another one in each run."""
    return [VARIES.sub("*", line).strip() for line in text.splitlines() if line.strip()]


@pytest.fixture
def account() -> Account:
    made = Account()
    made.write("Documents/plan.txt", b"from the cloud")
    made.agrees_to = "made-for-the-hub"
    return made


@pytest.fixture
def url(account: Account) -> Iterator[str]:
    with standing(account) as address:
        yield address


def test_the_tutorial_works_as_it_stands(office: Office, account: Account, url: str) -> None:
    desks = {name: office.desk(name, account_poll_s="1").start() for name in ("hub", "laptop")}
    told = steps()
    assert [command.split()[0] for _, command, _ in told] == [
        *("account", "share", "status", "invite", "join", "held"),
    ]
    ticket = ""
    for device, command, printed in told:
        desk = desks[device]
        words = shlex.split(command.replace("https://cloud.example", url).replace("~/Documents", str(desk.folder)))
        match words[0]:
            case "join":
                words[1] = ticket
            case "status":
                shows(desk, words, printed)
                continue
            case "held":
                reaches(desks["laptop"], account)
                account.move("Documents", "Papers")
                until(lambda: "not in the account" in desks["hub"].do("status"), "it is noticed")
            case _:
                pass
        said = desk.do(*words)
        ticket = said.strip() if words[0] == "invite" else ticket
        assert plain(said) == plain(printed), command
    held = desks["hub"].ask("held", "Documents")["held"][0]["id"]
    desks["hub"].do("reject", "Documents", held)
    until(lambda: "Documents/plan.txt" in account.files, "it is made there anew")
    desks["hub"].do("forget", "laptop")
    desks["hub"].do("leave", "Documents")
    desks["hub"].do("account", "remove", "work")
    assert "made-for-the-hub" not in account.passwords


def shows(desk: Desk, words: list[str], printed: str) -> None:
    """In the end: an account is looked at each second, and a status may fall into that."""
    until(lambda: plain(desk.do(*words)) == plain(printed), f"{words} shows what the tutorial prints")


def reaches(laptop: Desk, account: Account) -> None:
    """Both directions, as the tutorial says."""
    until((laptop.folder / "plan.txt").exists, "the laptop has the account's file")
    (laptop.folder / "reply.txt").write_bytes(b"from the laptop")
    until(lambda: "Documents/reply.txt" in account.files, "the account has the laptop's file")
