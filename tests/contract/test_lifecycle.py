# SPDX-License-Identifier: AGPL-3.0-or-later
"""Apps that are not there, settings that are wrong, a start and an end (contract, section 1; numbers 142 to 148)."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.conftest import KEY, Cloud, Launch
from tests.contract.instance import Harp, Program
from tests.contract.talk import Caller, cookie
from tests.fakes.exapp import ExApp, route
from tests.fakes.nextcloud import ORDINARY
from tests.fakes.ports import free_port

Known = Callable[..., str]
Start = Callable[..., Program]


@pytest.mark.contract(142)
def test_142_an_app_that_does_not_listen(harp: Harp, known: Known, someone: Caller) -> None:
    app = known(route("^/"), port=free_port())

    reply = someone.get(f"/exapps/{app}/x")

    assert reply.status == 503
    assert reply.took_s < 5


@pytest.mark.contract(143)
def test_143_an_app_whose_name_nobody_knows(
    harp: Harp, nextcloud: Cloud, exapp: ExApp, known: Known, someone: Caller
) -> None:
    app = known(route("^/"), host="no-such-host.invalid")
    for _ in range(11):
        assert someone.get(f"/exapps/{app}/x").status == 404

    other = known(route("^/"))
    assert someone.get(f"/exapps/{other}/x").status == 200, "it is not counted against the client"


@pytest.mark.contract(143)
def test_an_app_by_its_name(known: Known, someone: Caller) -> None:
    app = known(route("^/"), host="localhost")

    assert someone.get(f"/exapps/{app}/x").status == 200


def refuses(program: Program) -> str:
    """It ends by itself, not with 0, and no trace of its insides is shown; its output."""
    code = program.wait(20)
    assert code not in (0, None), program.output
    assert "Traceback" not in program.output
    return program.output


@pytest.mark.contract(144)
@pytest.mark.parametrize("missing", ["NC_INSTANCE_URL", "HP_SHARED_KEY"])
@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_144_without_a_key_or_nextclouds_address(start: Start, missing: str, value: str | None) -> None:
    assert missing in refuses(start(**{missing: value}))


@pytest.mark.contract(145)
@pytest.mark.parametrize("key", ['inside"quote', "back\\slash", "schlüssel", "tab\tkey", "\x7f"])
def test_145_a_key_that_cannot_be_one(harp: Harp, start: Start, key: str) -> None:
    output = refuses(start(HP_SHARED_KEY=key))

    assert "HP_SHARED_KEY" in output
    assert harp.is_reference or key not in output


@pytest.mark.contract(145)
@pytest.mark.parametrize("quoted", [f'"{KEY}"', f"'{KEY}'"])
def test_145_quotes_around_a_key_are_not_part_of_it(launch: Launch, quoted: str) -> None:
    with launch(HP_SHARED_KEY=quoted) as own:
        assert own.control("GET", "/info").status == 200
        assert own.control("GET", "/info", key=quoted).status == 401


@pytest.mark.contract(145)
def test_a_key_of_all_that_is_allowed(launch: Launch) -> None:
    key = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "\"\\'") + " x"
    with launch(HP_SHARED_KEY=key, key=key) as own:
        assert own.control("GET", "/info").status == 200


@pytest.mark.contract(146)
def test_146_two_keys(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)

    assert "HP_SHARED_KEY_FILE" in refuses(start(HP_SHARED_KEY_FILE=str(file)))


@pytest.mark.contract(146)
def test_a_key_from_a_file(launch: Launch, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert "HP_SHARED_KEY_FILE" in refuses(start(HP_SHARED_KEY=None, HP_SHARED_KEY_FILE=str(file)))
    file.touch()
    assert "HP_SHARED_KEY_FILE" in refuses(start(HP_SHARED_KEY=None, HP_SHARED_KEY_FILE=str(file)))

    file.write_text(KEY + "\n\n")
    with launch(HP_SHARED_KEY=None, HP_SHARED_KEY_FILE=str(file)) as own:
        assert own.control("GET", "/info").status == 200


@pytest.mark.contract(147)
def test_147_after_a_restart_apps_work_by_themselves(
    launch: Launch, exapp: ExApp, known: Known, person: Callable[..., str], tmp_path: Path
) -> None:
    app = known(route("^/public"), route("^/user", ORDINARY))
    alice = [cookie(person("alice"))]
    for _ in range(2):
        with launch(tmp_path / "harp") as own:
            assert own.caller().get(f"/exapps/{app}/public").status == 200
            assert own.caller().get(f"/exapps/{app}/user", alice).status == 200


@pytest.mark.contract(148)
def test_148_term_ends_it_with_0(launch: Launch) -> None:
    with launch() as own:
        assert own.program is not None
        began = time.monotonic()
        assert own.program.end() == 0
        assert time.monotonic() - began < 10

        # The reference counts on its container to end the sleep of its watchdog.
        assert own.is_reference or not own.program.left_behind
