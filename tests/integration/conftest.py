# SPDX-License-Identifier: AGPL-3.0-or-later
"""What tests with real daemons share: an office of their own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from harp.sync.folder.fs import Root
from tests.fakes import desk as desks
from tests.fakes.desk import Desk
from tests.integration.office import Office, opened


@pytest.fixture
def office(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Office]:
    """Desks that end with the test."""
    with opened(tmp_path) as found:
        yield found
        if request.node.stash.get(_FAILED, False):
            found.abandon()


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A folder, an account, and the mirror between them."""
    monkeypatch.setattr(Root, "marker_is_there", lambda self: (tmp_path / "folder" / ".harp").is_dir())
    async with desks.opened(tmp_path) as made:
        yield made


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A fixture is not told how its test went; this one wants to know."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or call.excinfo is not None
    return report
