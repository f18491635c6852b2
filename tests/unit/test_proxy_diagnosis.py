# SPDX-License-Identifier: AGPL-3.0-or-later
"""What harp.proxy.doctor.diagnosis makes of what was seen, with the lines of harp.proxy.doctor.remedies."""

import pytest

from harp.proxy.doctor import diagnosis, remedies
from harp.proxy.doctor.diagnosis import Answered, Reach


@pytest.mark.parametrize("reach", [each for each in Reach if each is not Reach.ANSWERED])
def test_what_is_not_reached_has_a_remedy(reach: Reach) -> None:
    finding = diagnosis.reached("public address", Answered(address="https://cloud.example.org", reach=reach))
    assert not finding.ok
    assert finding.remedy


@pytest.mark.parametrize(
    ("version", "ok"), [("0.3.0", True), ("0.4.4", True), ("1.0.0", True), ("0.2.9", False), ("", False)]
)
def test_how_old_is_too_old(version: str, ok: bool) -> None:
    seen = Answered(address="http://127.0.0.1:8780", reach=Reach.ANSWERED, status=200, version=version)
    assert [each.ok for each in diagnosis.control(seen)] == [True, True, ok]


def test_nextcloud_is_not_asked_for_the_key_without_an_app() -> None:
    seen = Answered(address="https://cloud.example.org", reach=Reach.ANSWERED, status=401)
    assert [each.ok for each in diagnosis.nextcloud(seen, is_keyed=False)] == [True]
    assert [each.ok for each in diagnosis.nextcloud(seen, is_keyed=True)] == [True, False]


@pytest.mark.parametrize(
    "lines",
    [
        remedies.STRIPPED,
        remedies.PREFIXED,
        remedies.NOT_PASSED,
        remedies.WEBSOCKET,
        remedies.BUFFERED,
        remedies.FORWARDED,
    ],
)
def test_each_fault_has_a_line_for_each_web_server(lines: dict[str, str]) -> None:
    assert list(lines) == ["nginx", "Apache", "Caddy", "Traefik"]
    assert [line.partition(": ")[0] for line in remedies.each(lines).splitlines()] == list(lines)
