# SPDX-License-Identifier: AGPL-3.0-or-later
"""The web servers of docs/how-to/outer-proxy.md, each started with the very lines that stand there.

As the document has it ``harp proxy doctor`` finds nothing amiss; broken in the ways that harp.proxy.doctor.remedies has
lines for, it finds just that.
"""

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harp.proxy.doctor import remedies
from tests.fakes.haproxy import needs_haproxy
from tests.fakes.ports import free_port
from tests.integration.frontdoor import FrontDoor

pytestmark = [needs_haproxy, pytest.mark.timeout(180)]
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "outer-proxy.md"
WHERE = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
PROGRAMS = {"nginx": "nginx", "Apache": "apache2", "Caddy": "caddy", "Traefik": "traefik"}
APACHE_MODULES = Path("/usr/lib/apache2/modules")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontDoor]:
    made = FrontDoor(tmp_path_factory.mktemp("door"), HP_TRUSTED_PROXY_IPS="127.0.0.1", HP_BLACKLIST_COUNT="1000")
    yield made
    made.close()


def documented(server: str) -> str:
    """The lines that the document has for one."""
    section = HOW_TO.read_text(encoding="utf-8").partition(f"\n## {server}\n")[2].partition("\n## ")[0]
    [block] = re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)
    return str(block)


def nginx(lines: str, port: int, folder: Path) -> list[str]:
    in_http, _, in_server = lines.partition("# in Nextcloud's server { }")
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/log; events {{}}\n"
        f"http {{ access_log off;\n{in_http}\nserver {{ listen 127.0.0.1:{port};\n{in_server}\n}} }}\n"
    )
    return ["-c", str(folder / "nginx.conf")]


def apache(lines: str, port: int, folder: Path) -> list[str]:
    modules = ("mpm_event", "authz_core", "proxy", "proxy_http")
    (folder / "apache.conf").write_text(
        f"ServerRoot {folder}\nServerName localhost\nListen 127.0.0.1:{port}\n"
        f"PidFile {folder}/pid\nErrorLog {folder}/log\n"
        + "".join(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n" for name in modules)
        + lines
    )
    return ["-DFOREGROUND", "-f", str(folder / "apache.conf")]


def caddy(lines: str, port: int, folder: Path) -> list[str]:
    site = lines.replace("cloud.example.org", f"http://127.0.0.1:{port}")
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}\n" + site)
    return ["run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def traefik(lines: str, port: int, folder: Path) -> list[str]:
    (folder / "routes.yaml").write_text(lines.replace("cloud.example.org", "127.0.0.1"))
    return [f"--entrypoints.web.address=127.0.0.1:{port}", f"--providers.file.filename={folder}/routes.yaml"]


CONFIGURED: dict[str, Callable[[str, int, Path], list[str]]] = {
    "nginx": nginx,
    "Apache": apache,
    "Caddy": caddy,
    "Traefik": traefik,
}


@pytest.fixture
def serve(door: FrontDoor, tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """Starts a web server with lines; the address that browsers come to."""
    running: list[subprocess.Popen[bytes]] = []

    def start(server: str, lines: str) -> str:
        program = shutil.which(PROGRAMS[server], path=WHERE)
        if program is None:
            pytest.skip(f"{PROGRAMS[server]} is not installed")
        port, log = free_port(), tmp_path / "output"
        arguments = CONFIGURED[server](lines.replace("8780", str(door.proxy.port)), port, tmp_path)
        given = {"PATH": WHERE, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        with log.open("ab") as sink:
            running.append(subprocess.Popen([program, *arguments], env=given, stdout=sink, stderr=sink))
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return f"http://127.0.0.1:{port}"
            except OSError:
                assert running[-1].poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)

    yield start
    for process in running:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("server", list(PROGRAMS))
def test_as_the_document_has_it(door: FrontDoor, serve: Callable[[str, str], str], server: str) -> None:
    public = serve(server, documented(server))

    told = door.told(public)

    assert [name for name, check in told.items() if not check["ok"]] == []
    assert {"path", "WebSocket", "SSE", "trusted proxies"} <= told.keys()
    with urllib.request.urlopen(f"{public}/exapps/app/public", timeout=10) as response:
        assert response.status == 200
    upload = urllib.request.Request(f"{public}/exapps/app/public", data=bytes(3_000_000), method="POST")
    with urllib.request.urlopen(upload, timeout=30) as response:
        assert response.status == 200


def _caddy_version() -> tuple[int, ...]:
    program = shutil.which("caddy", path=WHERE)
    said = program and subprocess.run([program, "version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v?(\d+)\.(\d+)", said or "")
    return tuple(map(int, found.groups())) if found else (2, 7)


def _changed(old: str, new: str) -> Callable[[str], str]:
    def change(lines: str) -> str:
        assert old in lines, f"{old!r} is not in the document"
        return lines.replace(old, new)

    return change


HARP = "http://127.0.0.1:8780"
# It was renamed in 2.7.
CADDY_BUFFERS = "buffer_responses" if _caddy_version() < (2, 7) else "response_buffers 1MiB"
BROKEN: list[tuple[str, Callable[[str], str], list[str], dict[str, str]]] = [
    ("Apache", _changed(f"{HARP}/exapps/", f"{HARP}/"), ["path"], remedies.STRIPPED),
    ("Apache", _changed(f"{HARP}/exapps/", f"{HARP}/cloud/exapps/"), ["path"], remedies.PREFIXED),
    ("Apache", _changed("ProxyPass /exapps/", "ProxyPass /apps/"), ["path"], remedies.NOT_PASSED),
    ("Apache", _changed(" upgrade=websocket", ""), ["WebSocket"], remedies.WEBSOCKET),
    ("Apache", lambda lines: f"{lines}ProxyAddHeaders Off\n", ["trusted proxies"], remedies.FORWARDED),
    ("Caddy", _changed("handle /exapps/*", "handle_path /exapps/*"), ["path"], remedies.STRIPPED),
    ("Caddy", _changed("reverse_proxy 127", "rewrite * /cloud{uri}\nreverse_proxy 127"), ["path"], remedies.PREFIXED),
    ("Caddy", _changed("handle /exapps/*", "handle /apps/*"), ["path"], remedies.NOT_PASSED),
    ("Caddy", _changed("flush_interval -1", "header_up -Upgrade"), ["WebSocket"], remedies.WEBSOCKET),
    ("Caddy", _changed("flush_interval -1", CADDY_BUFFERS), ["WebSocket", "SSE"], remedies.BUFFERED),
    ("Caddy", _changed("flush_interval -1", "header_up -X-Forwarded-For"), ["trusted proxies"], remedies.FORWARDED),
]


@pytest.mark.parametrize(
    ("server", "change", "names", "lines"), BROKEN, ids=[f"{each[0]}-{number}" for number, each in enumerate(BROKEN)]
)
def test_broken_in_one_way(
    door: FrontDoor,
    serve: Callable[[str, str], str],
    server: str,
    change: Callable[[str], str],
    names: list[str],
    lines: dict[str, str],
) -> None:
    found = door.failed(serve(server, change(documented(server))))

    assert list(found) == names
    assert found[names[-1]]["remedy"] == remedies.each(lines)
