# SPDX-License-Identifier: AGPL-3.0-or-later
"""The password: hashed by Argon2id, and guessed at more and more slowly."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.base.errors import UsageError
from harp.console import password
from harp.console.password import FREE_FAILURES, LONGEST_S, Password, Throttle

NOW = 1_790_000_000.0


async def test_only_the_right_one_is_right(tmp_path: Path) -> None:
    kept = Password(tmp_path)
    assert not kept.is_set
    assert not await kept.is_right("")
    password.store(tmp_path, "correct horse battery")
    answers = await asyncio.gather(
        *(kept.is_right(one) for one in ("correct horse battery", "correct horse", "", "x" * 5000))
    )
    assert answers == [True, False, False, False]


async def test_a_damaged_hash_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / password.FILE_NAME).write_bytes(b"\xff\x00 nothing")
    assert not await Password(tmp_path).is_right("anything at all")


@pytest.mark.parametrize("given_one", ["", "short", "x" * 1025])
def test_a_password_has_a_length(tmp_path: Path, given_one: str) -> None:
    with pytest.raises(UsageError):
        password.store(tmp_path, given_one)
    assert not Password(tmp_path).is_set


def test_a_new_password_has_another_mark(tmp_path: Path) -> None:
    kept = Password(tmp_path)
    assert kept.mark == 0
    password.store(tmp_path, "correct horse battery")
    assert kept.mark != 0


def test_ten_wrong_ones_make_the_next_one_wait() -> None:
    throttle = Throttle()
    for _ in range(FREE_FAILURES):
        throttle.failed(now=NOW)
        assert throttle.wait_s(now=NOW) == 0
    for _ in range(5):
        throttle.failed(now=NOW)
    assert throttle.wait_s(now=NOW) == 32
    assert throttle.wait_s(now=NOW + 32) == 0
    throttle.succeeded()
    throttle.failed(now=NOW)
    assert throttle.wait_s(now=NOW) == 0


@given(st.integers(0, 100_000), st.floats(0, 1e6))
def test_nobody_is_kept_out_for_longer_than_a_quarter_of_an_hour(failures: int, later: float) -> None:
    throttle = Throttle(failures=failures, failed_at=NOW)
    assert 0 <= throttle.wait_s(now=NOW + later) <= LONGEST_S
