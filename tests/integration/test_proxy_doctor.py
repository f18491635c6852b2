# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp proxy doctor`` with a real HAProxy behind a real nginx, which is broken in one way after the other.

It walks by harp.proxy.doctor.walk, and an app of harp.proxy.doctor.echo stands at the end of the way.
harp.daemon.proxydoctor puts them together.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.certificates import Authority, certificate
from tests.fakes.haproxy import needs_haproxy
from tests.fakes.ports import free_port
from tests.integration.frontdoor import GOOD, FrontDoor, needs_nginx

pytestmark = [needs_haproxy, needs_nginx]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontDoor]:
    made = FrontDoor(tmp_path_factory.mktemp("door"), HP_BLACKLIST_COUNT="1000")
    yield made
    made.close()


def failed(door: FrontDoor, location: str = GOOD, **variables: str) -> dict[str, dict[str, str]]:
    return door.failed(f"http://127.0.0.1:{door.serve(location)}", **variables)


def test_all_is_well(door: FrontDoor) -> None:
    told = door.told(f"http://127.0.0.1:{door.serve()}")
    assert [name for name, check in told.items() if not check["ok"]] == []
    walked = ["control address", "shared key", "version", "Nextcloud", "Nextcloud's key", "public address", "path"]
    seen = ["WebSocket", "SSE", "trusted proxies", "engine 24000", "app app", "FRP", "control port", "metrics port"]
    assert list(told) == walked + seen


def test_the_prefix_is_taken_away(door: FrontDoor) -> None:
    found = failed(door, GOOD.replace("HARP;", "HARP/;"))
    assert "takes /exapps/ away" in found["path"]["text"]
    assert "nginx: in `location /exapps/`: `proxy_pass http://HARP:8780;`" in found["path"]["remedy"]


def test_something_is_put_before_it(door: FrontDoor) -> None:
    found = failed(door, GOOD.replace("HARP;", "HARP/cloud/exapps/;"))
    assert "puts something before /exapps/" in found["path"]["text"]


def test_it_is_not_passed_on_at_all(door: FrontDoor) -> None:
    found = failed(door, "return 404;")
    assert "does not arrive" in found["path"]["text"]


def test_it_is_passed_on_to_where_nobody_is(door: FrontDoor) -> None:
    found = failed(door, GOOD.replace("HARP;", f"{free_port()};"))
    assert "does not reach Harp, and answers 502" in found["path"]["text"]
    assert "nginx: the address behind `proxy_pass http://`" in found["path"]["remedy"]


def test_the_upgrade_is_not_passed(door: FrontDoor) -> None:
    found = failed(door, GOOD.replace("proxy_set_header Upgrade $http_upgrade;", ""))
    assert list(found) == ["WebSocket"]
    assert "nginx: `proxy_http_version 1.1; proxy_set_header Upgrade" in found["WebSocket"]["remedy"]


def test_events_are_held_back_to_be_compressed(door: FrontDoor) -> None:
    compressed = "gzip on; gzip_proxied any; gzip_min_length 0; gzip_types text/event-stream;"
    found = failed(door, GOOD.replace("proxy_buffering off;", compressed))
    assert list(found) == ["SSE"]
    assert "nginx: `proxy_buffering off;` and `gzip off;`" in found["SSE"]["remedy"]


def test_events_are_held_back_in_a_buffer(door: FrontDoor) -> None:
    for version in ("1.0", "1.1"):
        location = GOOD.replace("proxy_buffering off;", "").replace("http_version 1.1", f"http_version {version}")
        assert list(failed(door, location)) == ["SSE"], version


def test_the_person_is_not_named(door: FrontDoor) -> None:
    found = failed(door, GOOD.replace("proxy_set_header X-Forwarded-For $remote_addr;", ""))
    assert "no X-Forwarded-For" in found["trusted proxies"]["text"]


def test_the_key_here_is_nobodys(door: FrontDoor) -> None:
    found = failed(door, HP_SHARED_KEY="another-key")
    assert list(found) == ["shared key", "Nextcloud's key"]
    assert "neither the key of what runs nor AppAPI's" in found["shared key"]["text"]


def test_appapi_has_another_key(door: FrontDoor) -> None:
    door.cloud.key = "another-key"
    try:
        found = failed(door)
    finally:
        door.cloud.key = door.key
    assert list(found) == ["Nextcloud's key"]
    assert "AppAPI has another key than Harp" in found["Nextcloud's key"]["text"]


def test_what_runs_has_an_older_key(door: FrontDoor) -> None:
    door.cloud.key = "a-new-key"
    try:
        found = failed(door, HP_SHARED_KEY="a-new-key")
    finally:
        door.cloud.key = door.key
    assert list(found) == ["shared key"]
    assert "it runs with an older one" in found["shared key"]["remedy"]


def test_certificates(door: FrontDoor, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trusting = {"HP_CA_FILE": str(authority.root)}
    expected = [
        (certificate(tmp_path, "localhost"), {}, "vouches for itself"),
        (authority.issued("localhost", chain="root"), {}, "from an authority that is unknown here"),
        (authority.issued("localhost", chain="leaf"), trusting, "the chain is incomplete"),
        (authority.issued("localhost", from_h=-20, to_h=-10), trusting, "out of date"),
        (authority.issued("localhost", from_h=10, to_h=20), trusting, "not valid yet"),
        (authority.issued("other.example.org"), trusting, "for another name"),
    ]
    for served, variables, said in expected:
        found = door.failed(f"https://localhost:{door.serve(ssl=served.path)}", **variables)
        assert said in found["public address"]["text"], said
        assert found["public address"]["remedy"]
        assert list(found) == ["public address"], said

    good = authority.issued("localhost")
    assert door.failed(f"https://localhost:{door.serve(ssl=good.path)}", **trusting) == {}


def test_http_and_https_are_mixed_up(door: FrontDoor, tmp_path: Path) -> None:
    found = door.failed(f"https://127.0.0.1:{door.serve()}")
    assert "speaks http, and https is asked for" in found["public address"]["text"]

    found = door.failed(f"http://127.0.0.1:{door.serve(ssl=certificate(tmp_path, 'localhost').path)}")
    assert "answers 400 to http: it speaks https, it seems" in found["path"]["text"]


def test_a_file_of_an_authority_that_is_none(door: FrontDoor, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name, why in (("ca.pem", "it holds no certificate"), ("missing.pem", "No such file")):
        asking = door.asking(HP_CA_FILE=str(tmp_path / name))
        code, said = asking.run("doctor")
        assert (code, why in said) == (3, True), said


def test_a_name_that_does_not_resolve(door: FrontDoor) -> None:
    found = door.failed("http://cloud.invalid")
    assert "does not resolve" in found["public address"]["text"]


def test_the_address_that_appapi_was_told(door: FrontDoor) -> None:
    code, said = door.asking().run("doctor", "--control", f"http://localhost:{door.proxy.port}")
    assert (code, said.count("✓")) == (0, 3)
    code, said = door.asking().run("doctor", "--control", f"http://localhost:{free_port()}")
    assert (code, "refuses the connection" in said) == (1, True)


@pytest.mark.parametrize(
    ("trusted", "remedy"),
    [("", "HP_TRUSTED_PROXY_IPS=ADDRESS"), ("192.0.2.1", "add 127.0.0.9 to HP_TRUSTED_PROXY_IPS")],
)
def test_the_proxy_is_not_trusted(tmp_path: Path, trusted: str, remedy: str) -> None:
    door = FrontDoor(tmp_path / "own", HP_TRUSTED_PROXY_IPS=trusted)
    try:
        found = failed(door)
        assert list(found) == ["trusted proxies"]
        assert found["trusted proxies"]["remedy"].startswith(remedy)
        door.lose_app()
        found = failed(door)
        assert "listens on 127.0.0.1 inside its container" in found["app app"]["text"]
    finally:
        door.close()
