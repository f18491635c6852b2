# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp proxy doctor`` beside a real Nextcloud: nothing is amiss as the how-to has it, and each fault is seen."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.contract import instance
from tests.contract.instance import Harp
from tests.e2e.conftest import KEY
from tests.e2e.exapp import Hello
from tests.e2e.site import Site, documented_location
from tests.fakes.certificates import certificate
from tests.fakes.ports import free_port

Checks = dict[str, dict[str, str]]


def failed(site: Site, harp: Harp, settings: Mapping[str, str], public: str = "") -> Checks:
    """What the doctor finds amiss, by name, with the settings of that harp."""
    assert harp.program is not None
    home = harp.program.log.parent / "home"
    done = subprocess.run(
        [str(Path(sys.executable).parent / "harp"), "proxy", "doctor", "--json", "--public", public or site.cloud.url],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"] if not check["ok"]}
    assert done.returncode == (1 if found else 0), done.stderr
    return found


@contextlib.contextmanager
def another(
    site: Site, settings: Mapping[str, str], folder: Path, **changed: str
) -> Iterator[tuple[Harp, dict[str, str]]]:
    """One more harp for that Nextcloud, with some settings changed, to which nginx leads until the block ends."""
    own = {**settings, **instance.own_addresses(), **changed}
    harp = instance.ready(instance.started(folder, own), own, own["HP_SHARED_KEY"])
    assert harp.program is not None
    try:
        with site.cloud.led_to(documented_location(harp.port)):
            yield harp, own
    finally:
        harp.program.end()


def test_as_the_how_to_has_it_nothing_is_amiss(site: Site, hello: Hello, harp_settings: dict[str, str]) -> None:
    assert failed(site, site.harp, harp_settings) == {}


@pytest.mark.parametrize(
    ("old", "new", "names", "said"),
    [
        ("PORT;", "PORT/;", ["path"], "takes /exapps/ away"),
        ("PORT;", "PORT/cloud/exapps/;", ["path"], "puts something before /exapps/"),
        ("location /exapps/", "location /apps-elsewhere/", ["path"], "does not arrive"),
        ("PORT;", "NOBODY;", ["path"], "does not reach Harp, and answers 502"),
        ("proxy_set_header Upgrade $http_upgrade;", "", ["WebSocket"], "the upgrade is not passed on"),
        ("proxy_buffering off;", "", ["SSE"], "events are held back"),
        ("proxy_set_header X-Forwarded-For $remote_addr;", "", ["trusted proxies"], "no X-Forwarded-For"),
    ],
)
def test_a_fault_of_the_web_server(
    site: Site, hello: Hello, harp_settings: dict[str, str], old: str, new: str, names: list[str], said: str
) -> None:
    port = str(site.harp.port)
    location, old = documented_location(site.harp.port), old.replace("PORT", port)
    assert old in location
    changed = location.replace(old, new.replace("PORT", port).replace("NOBODY", str(free_port())))

    with site.cloud.led_to(changed):
        found = failed(site, site.harp, harp_settings)

    assert list(found) == names
    assert said in found[names[0]]["text"]
    assert "nginx: " in found[names[0]]["remedy"]


def test_an_app_that_does_not_run(site: Site, hello: Hello, harp_settings: dict[str, str]) -> None:
    hello.stop()
    try:
        found = failed(site, site.harp, harp_settings)
    finally:
        hello.start()
    assert list(found) == [f"app {hello.app}"]


def test_addresses_of_nextcloud_that_are_wrong(site: Site, hello: Hello, harp_settings: dict[str, str]) -> None:
    elsewhere = {"NC_INSTANCE_URL": f"http://127.0.0.1:{free_port()}"}
    found = failed(site, site.harp, harp_settings | elsewhere)
    assert "refuses the connection" in found["Nextcloud"]["text"]

    found = failed(site, site.harp, harp_settings | {"NC_INSTANCE_URL": f"{site.cloud.url}/nextcloud"})
    assert "NC_INSTANCE_URL has to be Nextcloud's own address, with its folder" in found["AppAPI"]["remedy"]

    found = failed(site, site.harp, harp_settings, f"https://127.0.0.1:{site.cloud.port}")
    assert "speaks http, and https is asked for" in found["public address"]["text"]


def test_a_certificate_that_nobody_vouches_for(
    site: Site, hello: Hello, harp_settings: dict[str, str], tmp_path: Path
) -> None:
    paper, port = certificate(tmp_path, "127.0.0.1").path, free_port()
    public = f"https://127.0.0.1:{port}"
    lines = f"listen 127.0.0.1:{port} ssl; ssl_certificate {paper}; ssl_certificate_key {paper};"

    with site.cloud.led_to(lines, "tls"):
        found = failed(site, site.harp, harp_settings, public)
        assert "vouches for itself" in found["public address"]["text"]
        assert "set HP_CA_FILE" in found["public address"]["remedy"]

        assert failed(site, site.harp, harp_settings | {"HP_CA_FILE": str(paper)}, public) == {}


def test_the_web_server_is_not_trusted(site: Site, hello: Hello, harp_settings: dict[str, str], tmp_path: Path) -> None:
    with another(site, harp_settings, tmp_path, HP_TRUSTED_PROXY_IPS="") as (harp, settings):
        found = failed(site, harp, settings)
    assert list(found) == ["trusted proxies"]
    assert "HP_TRUSTED_PROXY_IPS is empty" in found["trusted proxies"]["text"]


def test_a_key_of_an_administrators_shell_that_is_nobodys(
    site: Site, hello: Hello, harp_settings: dict[str, str]
) -> None:
    assert site.browser().get(f"/exapps/{hello.app}/public").status == 200
    found = failed(site, site.harp, harp_settings | {"HP_SHARED_KEY": "another"})
    assert "neither the key of what runs nor AppAPI's" in found["shared key"]["text"]


def test_appapi_has_another_key_from_the_first_day(
    site: Site, hello: Hello, harp_settings: dict[str, str], tmp_path: Path
) -> None:
    occ = site.cloud.occ_tried
    with another(site, harp_settings, tmp_path, HP_SHARED_KEY="a-key-that-appapi-has-not") as (harp, settings):
        assert list(failed(site, harp, settings)) == [], "nobody has come yet"
        Site(site.cloud, Harp(harp.host, harp.port, KEY)).tell_nextcloud("estranged")
        try:
            # AppAPI tries for ten minutes.
            with contextlib.suppress(subprocess.TimeoutExpired):
                occ("app_api:app:register", "lost", "estranged", "--json-info", Hello("lost", "").info, patience_s=20)
            found = failed(site, harp, settings)
        finally:
            occ("app_api:app:unregister", "lost", "--force", "--silent", patience_s=60)
            occ("app_api:daemon:unregister", "estranged")
    assert "somebody came with another key: AppAPI, it seems" in found["Nextcloud's key"]["text"]
    assert "occ app_api:daemon:unregister" in found["Nextcloud's key"]["remedy"]
