# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp proxy`` as its administrator meets it: status, bans, configuration, figures, logs, and ``harp up`` with it.

The processes are wired by harp.daemon.appplane and harp.daemon.appagent, asked by harp.cli.proxy, shown by
harp.proxy.edge.figures.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from harp.base.errors import ConfigError
from harp.daemon import appagent, appplane
from harp.daemon.proxyanswers import redacted
from tests.fakes.certificates import TRUSTS_NOBODY
from tests.fakes.exapp import ExApp, route
from tests.fakes.haproxy import HAPROXY, needs_haproxy
from tests.fakes.nextcloud import Nextcloud
from tests.fakes.ports import free_port
from tests.fakes.served import Served

pytestmark = needs_haproxy
KEY = "a-shared-key-of-this-test"


@dataclass(slots=True)
class Running:
    """One ``harp proxy``, and the commands of its home."""

    home: Path
    variables: Mapping[str, str]
    process: subprocess.Popen[str]
    port: int
    metrics: int

    def run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "harp.cli", "--home", str(self.home), "proxy", *arguments],
            env=dict(self.variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout

    def get(self, path: str, port: int = 0) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.port}{path}", timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}{path}", timeout=10) as response:
            return str(response.read().decode())

    def until(self, path: str, status: int, port: int = 0) -> None:
        deadline = time.monotonic() + 30
        while self.get(path, port) != status:
            assert time.monotonic() < deadline, f"{path} is never {status}"
            assert self.process.poll() is None, "it ended"
            time.sleep(0.1)


def variables(tmp_path: Path, nextcloud: str, port: int, metrics: int) -> dict[str, str]:
    return {
        **TRUSTS_NOBODY,
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HP_HAPROXY": HAPROXY,
        "HP_SHARED_KEY": KEY,
        "NC_INSTANCE_URL": nextcloud,
        "HP_EXAPPS_ADDRESS": f"127.0.0.1:{port}",
        "HP_METRICS_ADDRESS": f"127.0.0.1:{metrics}",
        "HP_ACCESS_LOG": "true",
        "HP_CERTIFICATE": str(tmp_path / "cert.pem"),
        "HP_EXAPPS_HTTPS_ADDRESS": f"127.0.0.1:{free_port()}",
    }


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[ExApp, Served]]:
    app, nextcloud = ExApp(), Nextcloud(key=KEY)
    app.start()
    nextcloud.apps["app"] = app.record(route("^/public"), route("^/admin", 2))
    served = Served(nextcloud.answer).start()
    yield app, served
    served.stop()
    app.stop()


def started(tmp_path: Path, served: Served, *verb: str, **changed: str) -> Running:
    port, metrics = free_port(), free_port()
    given = {name: text for name, text in (variables(tmp_path, served.url, port, metrics) | changed).items() if text}
    home = tmp_path / "home"
    with (tmp_path / "output").open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "harp.cli", "--home", str(home), *verb],
            env=given,
            stdout=sink,
            stderr=subprocess.STDOUT,
            text=True,
        )
    return Running(home, given, process, port, metrics)


@pytest.fixture
def running(tmp_path: Path, world: tuple[ExApp, Served]) -> Iterator[Running]:
    proxy = started(tmp_path, world[1], "proxy")
    proxy.until("/readyz", 200, proxy.metrics)
    yield proxy
    proxy.process.terminate()
    proxy.process.wait(20)


def test_what_an_administrator_asks(running: Running, tmp_path: Path) -> None:
    assert running.get("/exapps/App/public?secret=in-the-query") == 200
    code, said = running.run("status")
    assert code == 0
    assert "the agent answers" in said
    assert "app" in said

    for _ in range(10):
        assert running.get("/exapps/app/nowhere") == 404
    assert running.get("/exapps/app/public") == 429
    code, said = running.run("bans", "--json")
    [ban] = json.loads(said)["bans"]
    assert (ban["client"], ban["failures"]) == ("127.0.0.1", 10)
    assert 200 < ban["banned_for_s"] <= 300
    assert len(json.loads(running.run("status", "--json")[1])["bans"]) == 1
    assert "BANNED FOR" in running.run("bans")[1]

    assert running.run("unban", "127.0.0.1")[0] == 0
    assert running.get("/exapps/app/public") == 200
    assert running.run("bans")[1] == "nobody failed lately\n"
    assert running.run("unban", "127.0.0.1")[0] == 1
    assert running.run("unban", "nobody")[0] == 2

    page = running.page("/metrics")
    for family in ("harp_proxy_nextcloud_calls_total", "harp_proxy_refused_total", "harp_proxy_banned 0"):
        assert family in page
    assert 'harp_proxy_refused_total{reason="no-route"} 10' in page
    assert running.page("/healthz") == "ok\n"

    lines = [json.loads(line) for line in (tmp_path / "output").read_text().splitlines() if line.startswith("{")]
    assert {"status": 200, "app": "App", "path": "/exapps/App/public"}.items() <= lines[0].items()
    assert lines[1]["reason"] == "no-route"
    assert "in-the-query" not in (tmp_path / "output").read_text()


def test_the_configuration_is_shown_without_what_is_secret(running: Running) -> None:
    code, said = running.run("config")

    assert code == 0
    assert "frontend exapps" in said
    assert "(REDACTED)" in said
    assert KEY not in said
    everything = [file.read_bytes() for file in (running.home / "proxy").iterdir() if file.is_file()]
    assert not any(KEY.encode() in text for text in everything), "the key is in no file either"
    assert redacted("    set-var proc.harp_key str(AB)\n") == "    set-var proc.harp_key str(REDACTED)\n"


def test_a_certificate_that_comes_later_is_taken_up_on_hup(running: Running, tmp_path: Path) -> None:
    made = subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-keyout",
            str(tmp_path / "key"),
            "-out",
            str(tmp_path / "crt"),
        ],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("openssl makes no certificate here")
    (tmp_path / "cert.pem").write_bytes((tmp_path / "crt").read_bytes() + (tmp_path / "key").read_bytes())

    running.process.send_signal(signal.SIGHUP)

    where = running.variables["HP_EXAPPS_HTTPS_ADDRESS"]
    deadline = time.monotonic() + 20
    while True:
        tried = subprocess.run(
            ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_version}", f"https://{where}/exapps/app/public"],
            capture_output=True,
            text=True,
            check=False,
        )
        if tried.stdout == "2":
            break
        assert time.monotonic() < deadline, tried
        time.sleep(0.2)


def test_a_new_key_is_taken_up_on_hup(tmp_path: Path, world: tuple[ExApp, Served]) -> None:
    (tmp_path / "key").write_text("old-key")
    proxy = started(tmp_path, world[1], "proxy", HP_SHARED_KEY="", HP_SHARED_KEY_FILE=str(tmp_path / "key"))

    def opens(key: str) -> bool:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{proxy.port}/exapps/app_api/info", headers={"harp-shared-key": key}
        )
        try:
            with urllib.request.urlopen(asked, timeout=10) as response:
                return bool(response.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False

    try:
        proxy.until("/readyz", 200, proxy.metrics)
        assert opens("old-key")
        (tmp_path / "key").write_text("new-key")
        proxy.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while not opens("new-key"):
            assert time.monotonic() < deadline
            time.sleep(1.0)
        assert not opens("old-key")
    finally:
        proxy.process.terminate()
        assert proxy.process.wait(20) == 0


def test_other_instances_are_taken_up_on_hup_and_other_engines_are_not(
    tmp_path: Path, world: tuple[ExApp, Served]
) -> None:
    second = ExApp()
    second.start()
    (tmp_path / "home").mkdir()
    said = tmp_path / "home" / "proxy.env"
    said.write_text(f"HP_EXAPP_UPSTREAMS=app=localhost:{world[0].port}")
    proxy = started(tmp_path, world[1], "proxy")
    try:
        proxy.until("/exapps/app/public", 200)
        assert not second.seen

        said.write_text(f"HP_EXAPP_UPSTREAMS=app=localhost:{second.port}\nHP_DOCKER_ENGINES=24001=unix:///tmp/no.sock")
        proxy.process.send_signal(signal.SIGHUP)

        deadline = time.monotonic() + 20
        while not second.seen:
            assert proxy.get("/exapps/app/public") == 200
            assert time.monotonic() < deadline
            time.sleep(0.2)
        code, text = proxy.run("config")
        assert code == 0
        assert f"localhost:{second.port}" in text
        assert "24001" not in text, "an engine counts from the next start, for every part of Harp"
    finally:
        proxy.process.terminate()
        assert proxy.process.wait(20) == 0
        second.stop()


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("HP_EXAPPS_ADDRESS", "no-such-host.invalid:8780", "cannot be used: Name or service not known"),
        ("HP_EXAPPS_ADDRESS", "192.0.2.77:8780", "cannot be used: Cannot assign requested address"),
        ("HP_METRICS_ADDRESS", "no-such-host.invalid:1", "cannot be used: Name or service not known"),
        ("HP_SPOA_ADDRESS", "no-such-host.invalid:1", "cannot be used: Name or service not known"),
        ("HP_CA_FILE", "/no/such/file", "cannot be used: No such file or directory"),
        ("HP_CA_FILE", __file__, "cannot be used: there is no certificate in it"),
        ("HP_RUN_DIR", __file__, "cannot be used: File exists"),
        ("HP_HAPROXY", "/no/haproxy", "there is no /no/haproxy to run"),
        ("HP_CERTIFICATE", __file__, "unable to load certificate from file"),
        ("HP_DOCKER_ENGINES", "24001=unix://relative", "is no path of a socket"),
    ],
)
def test_what_cannot_be_is_one_line_a_remedy_and_3(
    tmp_path: Path, world: tuple[ExApp, Served], name: str, value: str, why: str
) -> None:
    proxy = started(tmp_path, world[1], "proxy", **{name: value})

    assert proxy.process.wait(60) == 3
    said, remedy, *more = (tmp_path / "output").read_text().splitlines()
    assert said.startswith("harp: ")
    assert why in said
    assert remedy.startswith("      ")
    assert not more


def test_when_nothing_runs_it_is_said(tmp_path: Path, world: tuple[ExApp, Served]) -> None:
    given = variables(tmp_path, world[1].url, free_port(), free_port())
    nobody = Running(tmp_path / "home", given, None, 0, 0)  # type: ignore[arg-type]
    for verb in ("status", "bans", "config"):
        code, said = nobody.run(verb)
        assert code == 4, said
        assert "harp proxy" in said


def test_two_in_one_home(running: Running) -> None:
    given = {**running.variables, "HP_EXAPPS_ADDRESS": f"127.0.0.1:{free_port()}"}
    code, said = Running(running.home, given, running.process, 0, 0).run()

    assert code == 3
    assert "a proxy runs in" in said


def test_harp_up_runs_it_too(tmp_path: Path, world: tuple[ExApp, Served]) -> None:
    daemon = started(tmp_path, world[1], "up", "--listen", "127.0.0.1:0", "--no-discovery")
    try:
        daemon.until("/exapps/app/public", 200)
        assert "External Apps are served on" in (tmp_path / "output").read_text()
    finally:
        daemon.process.terminate()
        assert daemon.process.wait(30) == 0


def test_variables_of_the_homes_file_and_over_them_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proxy.env").write_text("# mine\nHP_SHARED_KEY=from-the-file\nHP_SESSION_LIFETIME=5\n\nnonsense\n")
    monkeypatch.setenv("NC_INSTANCE_URL", "http://nc")
    monkeypatch.setenv("HP_SESSION_LIFETIME", "7")

    settings = appplane.load_settings(tmp_path)

    assert (settings.key, settings.session_lifetime_s) == ("from-the-file", 7.0)
    assert settings.run == tmp_path / "proxy"
    monkeypatch.setenv("HP_SHARED_KEY_FILE", "/x")
    with pytest.raises(ConfigError, match="both"):
        appplane.load_settings(tmp_path)


def test_a_file_of_records_that_is_not_good_is_none(tmp_path: Path) -> None:
    (tmp_path / appagent.APPS_FILE).write_text("[{}]")
    assert appagent.remembered_apps(tmp_path) == []
