# SPDX-License-Identifier: AGPL-3.0-or-later
"""A browser for each file of tests: Playwright's loop must be gone before other tests begin theirs."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser import visit
from tests.integration.conftest import office as office


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with visit.opened() as found:
        yield found
