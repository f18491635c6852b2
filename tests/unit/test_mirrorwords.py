# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is said of an account and of its files is said in German too: on the console, and to the app in Nextcloud.

Names harp.console.mirrorwords and harp.bridge.spoken.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from harp.base.errors import CloudError, HarpError
from harp.bridge.model import MirrorStatus
from harp.bridge.spoken import translated
from harp.console import words
from harp.daemon import journals, mirrorportraits
from harp.sync.cloud import doubts, mounts, multistatus, push
from harp.sync.cloud.capabilities import Capabilities
from harp.sync.cloud.claims import Claim
from harp.sync.cloud.nodes import Agreed, CloudPath, Etag, FileId, Local, Remote
from harp.sync.cloud.plan import plan
from harp.sync.cloud.push import ElsewhereError
from harp.sync.cloud.refusals import AWAY, AwayError, LoginError, said
from harp.sync.cloud.steps import Refuse
from harp.sync.service import mirrorwalk
from harp.sync.service.mirrorloop import MirrorLoop
from harp.sync.store.accounts import Account, Mirrored
from tests.fakes import webdav

ACCOUNT = Account("work", "https://cloud.example", "alice", "alice", "secret", "", False)
MIRRORED = Mirrored("ab", "work", "/Documents")
GERMAN = words.words("de").said
MAINTENANCE = "OCA\\DAV\\Exception\\ServerMaintenanceMode"


class Loop:
    """As much of a mirror's loop as its portrait shows."""

    def __init__(self, trouble: HarpError | None = None, question: str = "") -> None:
        self.trouble, self.question = trouble, question
        self.rivals: tuple[Claim, ...] = ()
        self.skew_s, self.settled_s, self.steps = 0.0, 1.0, 0
        self.is_working, self.standing = False, ""

    def status(self, *others: str) -> MirrorStatus:
        return mirrorportraits.status(MIRRORED, ACCOUNT, cast(MirrorLoop, self), others)


class Answer:
    """Of a server."""

    def __init__(self, status: int, text: str = "") -> None:
        self.status, self.text = status, text
        self.headers: dict[str, str] = {}
        self.content = self

    async def read(self, most: int) -> bytes:
        return self.text.encode()


@pytest.mark.parametrize("status", [401, 423, 429, 502, 503, 507])
async def test_what_a_server_refuses(status: int) -> None:
    error = await said(cast(Any, Answer(status)))
    assert isinstance(error, CloudError)
    told = Loop(error).status().error
    assert GERMAN(told) != told, told
    if status in (423, 507):
        assert GERMAN(error.message) != error.message, "for a single file"


def questions() -> Iterator[str]:
    yield "the folder is not in the account any more"
    local, remote = Local(False, 1, 5, 10**18), Remote(False, FileId("1"), Etag("new"), 5, 1)
    agreed = {CloudPath(f"{number}"): Agreed(local, FileId("1"), Etag("old")) for number in range(30)}
    yield doubts.looks_restored(agreed, dict.fromkeys(agreed, remote))
    removals = plan(agreed, dict.fromkeys(agreed, local), {}).removals
    yield doubts.looks_emptied(agreed, removals)


@pytest.mark.parametrize("question", [*questions()])
def test_what_is_asked(question: str) -> None:
    assert question
    told = Loop(question=question).status().error
    assert GERMAN(told) != told


def refused_names() -> Iterator[str]:
    rules = Capabilities(False, False, frozenset([".htaccess"]), frozenset(["con"]), (".part",), "\\/?")
    yield from map(rules.refusal, ("x" * 300, ".htaccess", "con.txt", "a.part", "a?", "a\x01"))


def refused_steps() -> Iterator[str]:
    a, d = CloudPath("a"), CloudPath("d")
    file, directory = Local(False, 1, 5, 7), Local(True, 3)
    there, top = (
        Remote(False, FileId("1"), Etag("e"), 5, 0, "RG"),
        Remote(True, FileId("2"), Etag("f"), permissions="RG"),
    )
    known = Agreed(replace(file, mtime_ns=6), there.fileid, there.etag)
    for plans in (
        plan({a: known}, {a: file}, {a: there}),
        plan({}, {d: directory, CloudPath("d/a"): file}, {d: top}),
        plan({}, {d: directory, CloudPath("d/e"): directory}, {d: top}),
    ):
        [step] = [one for one in plans.files if isinstance(one, Refuse)]
        yield step.why


@pytest.mark.parametrize("why", [*refused_names(), *refused_steps()])
def test_why_a_file_waits(why: str) -> None:
    assert why
    assert GERMAN(why) != why


@pytest.mark.parametrize("had", ["<nc:is-encrypted>1</nc:is-encrypted>", "<nc:mount-type>external</nc:mount-type>", ""])
def test_why_a_folder_is_left_out(had: str) -> None:
    listed = (
        '<d:multistatus xmlns:d="DAV:" xmlns:nc="http://nextcloud.org/ns"><d:response><d:href>/a</d:href><d:propstat>'
        f"<d:prop>{had}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>"
    )
    [found] = multistatus.parsed(listed.encode(), "")
    assert GERMAN(found.remote.refusal) != found.remote.refusal

    told = Loop(mirrorwalk.unfit(found.remote.refusal)).status().error
    assert GERMAN(told) != told, "the mirrored folder itself"


@pytest.mark.parametrize("why", [AWAY, mounts.GONE, mounts.EMPTIED])
def test_why_a_share_is_left_as_it_is(why: str) -> None:
    assert GERMAN(why) != why


async def test_a_storage_that_is_away_is_told_from_a_server_in_maintenance() -> None:
    away = await said(cast(Any, Answer(503, webdav.AWAY)))
    assert isinstance(away, AwayError)
    assert away.is_one_file
    told = Loop(away).status().error
    assert GERMAN(told) != told
    for told in ("", webdav.AWAY.replace("Sabre\\DAV\\Exception\\ServiceUnavailable", MAINTENANCE)):
        assert not isinstance(await said(cast(Any, Answer(503, told))), AwayError)


def test_two_warnings_in_one_line_are_both_said() -> None:
    loop = Loop()
    loop.rivals, loop.skew_s = (Claim("m", "r", "laptop", "/", 0),), 3600.0
    status = loop.status("ben")
    german = GERMAN(status.error)
    assert "spiegelt auch ein anderer Daemon: laptop (/)" in german
    assert "60 Minuten" in german
    assert "auch für ben gespiegelt" in GERMAN(status.note)
    assert "timedatectl" in GERMAN(status.remedy)
    assert "Es geht nichts verloren" in GERMAN(status.remedy)


def test_a_revoked_password_and_an_account_that_is_gone() -> None:
    assert "alice wurde zurückgenommen" in GERMAN(Loop(LoginError("no")).status().error)
    assert GERMAN(mirrorportraits.status(MIRRORED, None, None).error) == "Es gibt kein Konto work mehr"


def test_a_journal_that_cannot_be_read() -> None:
    assert GERMAN(journals.unread(ACCOUNT.url)).startswith("https://cloud.example hat kein harpbridge, ")


def test_an_answer_is_said_in_the_readers_language_and_names_stay() -> None:
    quota = "the account's quota is used up"
    answer = {
        "problems": ["work: the folder's marker is gone from the disk"],
        "folders": [{"name": quota, "error": "", "problems": [{"path": quota, "why": quota}], "files": 3}],
    }
    asked: dict[str, Any] = json.loads(json.dumps(answer))
    german: Any = translated(asked, "de-CH, en;q=0.5", words.said)
    assert german["folders"][0]["problems"] == [{"path": quota, "why": "Der Speicherplatz des Kontos ist aufgebraucht"}]
    assert german["folders"][0]["name"] == quota
    assert german["problems"] == ["work: Das Kennzeichen des Ordners ist von der Platte verschwunden"]
    assert translated(asked, "fr", words.said) == translated(asked, "", words.said) == answer


def not_pushed() -> Iterator[HarpError]:
    for told in ("wss://push.example/ws", "ws://cloud.example/push/ws"):
        with pytest.raises(ElsewhereError) as refused:
            push.address(told, ACCOUNT.url)
        yield refused.value
    yield CloudError("wss://cloud.example/push/ws is no WebSocket: 502")
    yield CloudError("wss://cloud.example/push/ws sends on to https://cloud.example/login")
    yield CloudError("wss://cloud.example/push/ws lets nobody listen: err: Invalid credentials")
    yield CloudError("https://cloud.example does not answer as notify_push does")
    yield CloudError("the line broke: Message size 70000 exceeds limit 65536")
    yield CloudError("the server hangs up")


@pytest.mark.parametrize("error", [*not_pushed()], ids=str)
def test_why_changes_are_not_pushed(error: HarpError) -> None:
    assert GERMAN(error.message) != error.message
