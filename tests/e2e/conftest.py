# SPDX-License-Identifier: AGPL-3.0-or-later
"""One Nextcloud for all of these tests; without one, each says what it needs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import cloud
from tests.e2e.cloud import Cloud


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    reason = cloud.why_not()
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def nextcloud() -> Iterator[Cloud]:
    with cloud.opened(Path(os.environ["NEXTCLOUD"])) as opened:
        yield opened
