# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command itself, as ``harp`` and as harp.cli.__main__: its verbs, its help, what it says of what is wrong."""

import gc
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from harp.base.errors import ConfigError, TrustError
from harp.cli import loading, main
from harp.cli.main import harp, run
from tests.fakes.control import served
from tests.fakes.daemon import Broken

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
VERBS = """
    up down console id share folders pause resume leave wait verify account invite join peers forget status
    history files changes cat why conflicts restore resolve held approve reject proxy
    ignore traffic log config backup restore-backup completion doctor
"""
NEED_A_DAEMON = """
    status|peers|folders|wait x|verify x|share /tmp|invite x|join harp1 /tmp/x|history x y|conflicts x|restore x y@e1
    resolve x y --keep both|held x|approve x y|reject x y|pause x|resume x|leave x|forget x|backup /tmp/x|down
    console|ignore x|files x|changes x|cat x y|traffic|log|account list|account remove x|account add x http://localhost
"""


def commands() -> dict[str, click.Command]:
    context = click.Context(harp)
    found: dict[str, click.Command] = {}
    for verb in harp.list_commands(context):
        command = harp.get_command(context, verb)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {f"{verb} {name}": inner for name, inner in command.commands.items()}
            if command.invoke_without_command:
                found[verb] = command
        else:
            found[verb] = command
    return found


def test_every_verb_is_there() -> None:
    assert harp.list_commands(click.Context(harp)) == VERBS.split()


@pytest.mark.parametrize("name", commands())
def test_every_command_takes_a_home_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert "--home DIR" in said
    assert commands()[name].help


def test_while_modules_are_loaded_nobody_looks_for_cycles_and_afterwards_as_before() -> None:
    with pytest.raises(ImportError), loading.uncollected():
        assert not gc.isenabled()
        import harp.nowhere  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()

    gc.disable()
    try:
        with loading.uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_short_help_of_a_verb_begins_as_its_own_help_does() -> None:
    for name, command in commands().items():
        if " " not in name:
            short = main._VERBS[name][1].split()[0]
            assert (command.help or "").split()[0] == short, name


def test_the_reference_names_every_command_and_every_option_and_no_others() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    sections = dict(
        re.findall(r"^### `harp ([a-z-]+(?: [a-z]+)?)[^`]*`\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    )
    found = commands()
    assert set(sections) == set(found)
    for name, command in found.items():
        own = {option for p in command.params if isinstance(p, click.Option) for option in p.opts} - {
            "--home",
            "--help",
        }
        heading = next(line for line in text.splitlines() if line.startswith(f"### `harp {name}"))
        assert own <= set(re.findall(r"--[a-z-]+", sections[name] + heading)), name


def test_without_a_verb_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "restore-backup" in capsys.readouterr().out
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == "harp 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "No such command"),
        (["join", "ticket"], "Missing argument 'PATH'"),
        (["status", "--colour"], "No such option"),
        (["wait", "Photos", "--timeout", "soon"], "not a duration"),
        (["invite", "Photos", "--expires", "1y"], "not a duration"),
        (["config", "get", "colour"], "there is no setting 'colour'"),
        (["restore", "Photos", "a.txt"], "the version is missing"),
        (["restore", "Photos", "a.txt@xyz"], "'xyz' is not an entry"),
        (["restore", "Photos", "a.txt@"], "'' is not an entry"),
        (["resolve", "Photos", "a.txt", "--keep", "neither"], "'neither' is not an entry"),
        (["restore-backup", "/nowhere"], "there is no file /nowhere"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_a_way_out(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    first, second = said.err.splitlines()
    assert first.startswith("harp: ")
    assert says in first
    assert re.match(r" {6}\S", second)


@pytest.mark.parametrize("line", re.split(r"[|\n]\s*", NEED_A_DAEMON.strip()))
def test_without_a_daemon_every_command_that_needs_one_says_so(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    assert run([*line.split(), "--home", str(home)]) == 4
    said = capsys.readouterr().err
    assert said == f"harp: no daemon runs in {home}\n      start it with `harp up`, or name its --home\n"
    assert not home.exists()


def test_the_home_comes_from_the_command_the_group_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path / "h"):
        home = str(tmp_path / "h")
        assert run(["folders", "--home", home]) == 0
        assert run(["--home", home, "folders"]) == 0
        assert run(["--home", "/nowhere", "folders", "--home", home]) == 0
        monkeypatch.setenv("HARP_HOME", home)
        assert run(["folders"]) == 0
        assert run(["--home", "/nowhere", "folders"]) == 4
    assert capsys.readouterr().out.count("Photos") == 4


def test_what_the_daemon_refuses_is_told_with_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path) as daemon:
        for error, code in ((TrustError("no \x1b]", hint="ask\n"), 5), (ConfigError("no"), 3), (Broken("no"), 77)):
            daemon.fails = error
            assert run(["peers", "--home", str(tmp_path)]) == code
    said = capsys.readouterr().err
    assert said == "harp: no \\x1b]\n      ask\\n\nharp: no\nharp: no\n"


def test_with_harp_debug_the_error_itself_comes_through(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARP_DEBUG", "1")
    with pytest.raises(ConfigError, match="no identity"):
        run(["id", "--home", str(tmp_path)])


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harp.identity.keyring.load", interrupted)
    assert run(["id"]) == main.INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_who_goes_away_is_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "harp.cli", "config", "get"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 1
    assert said == b""


def test_a_simple_command_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom harp.cli.main import run\n"
        "code = run(['status', '--home', '/nowhere'])\n"
        "heavy = {'aiohttp', 'asyncio', 'nacl', 'cryptography', 'OpenSSL', 'sqlite3', 'cbor2'} & set(sys.modules)\n"
        "sys.exit(code if not heavy else 'imports ' + ', '.join(sorted(heavy)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 4, done.stderr


def test_who_watches_the_proxy_and_asks_it_imports_nothing_of_its_agents() -> None:
    code = (
        "import sys\nfrom harp.cli.main import run\n"
        "code = run(['proxy', '--home', '/nowhere', 'bans'])\n"
        "heavy = {'aiohttp', 'aiodocker', 'nacl', 'cryptography', 'OpenSSL', 'sqlite3'} & set(sys.modules)\n"
        "sys.exit(code if not heavy else 'imports ' + ', '.join(sorted(heavy)))\n"
    )
    environ = os.environ | {"HP_SHARED_KEY": "a key", "NC_INSTANCE_URL": "http://127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, env=environ
    )
    assert done.returncode == 4, done.stderr


def test_the_shell_completes_verbs_and_options() -> None:
    environ = os.environ | {"_HARP_COMPLETE": "bash_complete", "COMP_WORDS": "harp res", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "from harp.cli.main import main; main()"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == ["plain,resume", "plain,restore", "plain,resolve", "plain,restore-backup"]
