# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the daemon says to a person is known to the console, sentence by sentence, so that each language has it.

The sentences are read out of the daemon's own sources: whoever adds one there is told here. Names
harp.console.daemonwords, harp.console.folderwords, harp.console.peerwords and harp.console.cloudwords.
"""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

import harp
from harp.console import daemonwords
from harp.console.words import words
from harp.sync.engine.fetcher import Why
from harp.sync.folder import fs

SOURCES = Path(harp.__file__).parent
SPEAKERS = (
    *("base/config.py", "base/timetable.py", "base/webaddress.py", "base/privatefile.py"),
    *("console/*.py", "console/pages/*.py"),
    *("bridge/api.py", "bridge/routes.py", "bridge/naming.py", "identity/pairing.py"),
    *("daemon/*.py", "sync/cloud/*.py", "sync/folder/*.py", "sync/service/*.py", "sync/store/*.py"),
    "sync/transport/*.py",
)
SILENT = {
    "console/server.py": "speaks on a terminal before there is a console",
    "console/guests.py": "speaks to harpbridge",
    "daemon/appplane.py": "speaks on a terminal before there is a console",
    "daemon/appagent.py": "speaks to HAProxy",
    "daemon/appfrp.py": "speaks on a terminal before there is a console",
    "daemon/frpview.py": "speaks in no sentences",
    "daemon/proxydoctor.py": "its sentences have a test of their own, test_console_proxywords.py",
    "sync/transport/listener.py": "speaks on a terminal before there is a console",
}
INNER = ("ProtocolError", "StaleError", "AssertionError", "OSError", "FileExistsError", "handleError")
"""What peers do wrong, what is tried again at once, and what never comes to a person as it is."""
NAMED = ("hint", "message", "reason", "remedy", "what", "why")
BLANK = "Q7"


def variants(node: ast.expr) -> list[str]:
    """All that an expression may say, with :data:`BLANK` for what is only known when it is said; none if unknown."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.FormattedValue(value=ast.IfExp() as inner):
            return variants(inner) or [BLANK]
        case ast.FormattedValue():
            return [BLANK]
        case ast.JoinedStr(values=parts):
            return ["".join(chosen) for chosen in itertools.product(*map(variants, parts))]
        case ast.IfExp(body=one, orelse=other):
            return variants(one) + variants(other)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            ends = variants(right) or [BLANK]
            return ["".join(pair) for pair in itertools.product(variants(left), ends)]
        case _:
            return []


def spoken(tree: ast.Module, silent: tuple[str, ...]) -> Iterator[str]:
    """Messages and hints of errors that are not ``silent``, and what is answered when something is done or found."""
    for call in ast.walk(tree):
        if isinstance(call, ast.FunctionDef) and call.name.endswith("refusal"):
            for inner in ast.walk(call):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield from variants(inner.value)
        if not isinstance(call, ast.Call):
            continue
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        is_error = (name.endswith("Error") and not name.endswith(silent)) or name == "CorruptStore"
        said = [word.value for word in call.keywords if word.arg in NAMED]
        if is_error or name == "Explanation":
            said += call.args[:1]
        elif name == "Refused":
            said += call.args[:2]
        elif name in ("Finding", "Refuse", "Skipped"):
            said += call.args[1:]
        elif name not in ("Done", "HeldSet", "Progress"):
            continue
        for one in said:
            yield from variants(one)


def sentences() -> Iterator[tuple[str, str]]:
    for pattern in SPEAKERS:
        for path in sorted(SOURCES.glob(pattern)):
            name = str(path.relative_to(SOURCES))
            if name not in SILENT:
                # What is wrong with a setting is a ValueError in the base, and part of a sentence.
                silent = INNER if name.startswith("base/") else (*INNER, "ValueError")
                yield from ((name, text) for text in spoken(ast.parse(path.read_text("utf-8")), silent))
    yield from (("sync/folder/fs.py", text) for text in fs._SENTENCES.values())
    yield from (("sync/engine/fetcher.py", why.value) for why in Why)


def is_command(text: str) -> bool:
    """Whether there is nothing to say: blanks alone, an example, or what is to be typed in."""
    is_blank = not any(character.isalpha() for character in text.replace(BLANK, ""))
    return is_blank or text.startswith(("harp account", "harp config", "sysctl ", "chmod ", "https://"))


SAID = sorted({(name, text) for name, text in sentences() if not is_command(text)}, key=lambda one: one[::-1])


def test_there_are_sentences_to_look_at() -> None:
    assert len(SAID) > 150
    assert {name for name in SILENT if not (SOURCES / name).exists()} == set()


@pytest.mark.parametrize(("name", "text"), SAID)
def test_each_sentence_is_said_in_german(name: str, text: str) -> None:
    assert words("de").said(text) != text, f"{name}: add it to the words of the console, and to de.po"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a FIFO", "a FIFO"),
        ("/srv/x cannot be made: permission denied", "/srv/x kann nicht angelegt werden: keine Berechtigung"),
        ("a.txt: the disk is full", "a.txt: die Platte ist voll"),
        ("a.txt: who knows", "a.txt: who knows"),
        (
            "here: 12 of 40 files lost within 10 minutes: 11 removed, 1 back to an earlier version now",
            "hier: 12 von 40 Dateien binnen 10 Minuten verloren: jetzt 11 entfernt, 1 auf einer früheren Fassung",
        ),
        (
            "from a peer: 12 of 12 files lost within 10 minutes: 12 removed now",
            "von einem anderen Gerät: 12 von 12 Dateien binnen 10 Minuten verloren: jetzt 12 entfernt",
        ),
        (
            "the device that invited cannot be reached: nobody answers at 10.0.0.9:8783: Connection refused",
            "das einladende Gerät ist nicht zu erreichen: niemand antwortet unter 10.0.0.9:8783: Verbindung abgelehnt",
        ),
    ],
)
def test_a_sentence_within_a_sentence_is_said_too(text: str, said: str) -> None:
    assert words("de").said(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "it is a FIFO, a socket or a device: these are not shared",
        "changed here only: this device may read this folder, not write to it",
        "deleted here only: this device may read this folder, not write to it",
        "changed here only: this device is no member any more",
        "deleted here only: this device is no member any more",
        "its marker is gone: the disk is not mounted, or the folder was moved",
        "the folder cannot be watched, changes are found by scans only: permission denied",
        "the rules of what is left out cannot be read: permission denied",
        "not all directories can be watched, the others are found by scans only: sysctl fs.inotify.max_user_watches=9",
        "work: the app password of alice was revoked, or is wrong",
        "work:/Documents: the folder is not in the account any more",
        "work:/Documents: 7 of 8 files are gone from the account at once",
    ],
)
def test_what_is_no_error_is_said_in_german_too(text: str) -> None:
    assert words("de").said(text) != text


def test_whoever_sits_before_a_browser_is_told_of_no_command_for_it() -> None:
    english, german = words("en"), words("de")
    assert english.said("`harp peers` lists them") == "they are listed under Devices"
    for text in english.translations._catalog:  # type: ignore[attr-defined]
        for told in (english.said(text), german.said(text)):
            assert "harp " not in told, text
            assert "--" not in told, text


def test_a_name_that_is_all_colons_is_no_nest_of_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    recognised = daemonwords.recognised

    def noted(text: str) -> object:
        looked.append(text)
        return recognised(text)

    monkeypatch.setattr(daemonwords, "recognised", noted)
    words("de").said(": " * 200 + "the disk is full")
    assert 1 < len(looked) < 10
