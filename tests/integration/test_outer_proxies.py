# SPDX-License-Identifier: AGPL-3.0-or-later
"""The web servers of docs/how-to/outer-proxy.md, each started with the very lines that stand there.

As the document has it ``harp proxy doctor`` finds nothing amiss; broken in the ways that harp.proxy.doctor.remedies has
lines for, it finds just that.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harp.proxy.doctor import remedies
from tests.fakes.certificates import Authority
from tests.fakes.haproxy import needs_haproxy
from tests.fakes.ports import free_port
from tests.integration.frontdoor import FrontDoor

pytestmark = [needs_haproxy, pytest.mark.timeout(180)]
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "outer-proxy.md"
WHERE = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
PROGRAMS = {"nginx": "nginx", "Apache": "apache2", "Caddy": "caddy", "Traefik": "traefik"}
READY = "/ready-for-the-test"
APACHE_MODULES = Path("/usr/lib/apache2/modules")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """Who vouches for a web server with TLS; this process believes it."""
    made = Authority(tmp_path_factory.mktemp("authority"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(made.root))
        yield made


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[FrontDoor]:
    made = FrontDoor(
        tmp_path_factory.mktemp("door"),
        HP_TRUSTED_PROXY_IPS="127.0.0.1",
        HP_BLACKLIST_COUNT="1000",
        HP_CA_FILE=str(authority.root),
    )
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
    installed, _, routes = lines.partition("# in the file that providers.file names")
    places = folder / "routes"
    places.mkdir()
    (places / "exapps.yaml").write_text(routes.replace("cloud.example.org", "127.0.0.1"))
    paper = folder / "paper.pem"
    (places / "ready.yaml").write_text(
        f"http: {{routers: {{ready: {{rule: Path(`{READY}`), service: noop@internal}}}}}}\n"
        f"tls: {{stores: {{default: {{defaultCertificate: {{certFile: {paper}, keyFile: {paper}}}}}}}}}\n"
    )
    (folder / "traefik.yaml").write_text(
        installed.replace(":443", f"127.0.0.1:{port}")
        + f"providers: {{file: {{directory: {places}}}}}\n"
        + "global: {checkNewVersion: false, sendAnonymousUsage: false}\n"
    )
    return [f"--configFile={folder}/traefik.yaml"]


CONFIGURED: dict[str, Callable[[str, int, Path], list[str]]] = {
    "nginx": nginx,
    "Apache": apache,
    "Caddy": caddy,
    "Traefik": traefik,
}


@pytest.fixture
def serve(door: FrontDoor, authority: Authority, tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """Starts a web server with lines; the address that browsers come to. Traefik, as it is documented, speaks TLS."""
    running: list[subprocess.Popen[bytes]] = []
    shutil.copy(authority.issued("127.0.0.1").path, tmp_path / "paper.pem")

    def start(server: str, lines: str) -> str:
        variable = f"HARP_TEST_{PROGRAMS[server].upper()}"
        program = os.environ.get(variable) or shutil.which(PROGRAMS[server], path=WHERE)
        if program is None:
            pytest.skip(f"{PROGRAMS[server]} is neither on PATH nor named by {variable}: it was not tried")
        port, log = free_port(), tmp_path / "output"
        arguments = CONFIGURED[server](lines.replace("8780", str(door.proxy.port)), port, tmp_path)
        given = {"PATH": WHERE, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        with log.open("ab") as sink:
            running.append(subprocess.Popen([program, *arguments], env=given, stdout=sink, stderr=sink))
        deadline = time.monotonic() + 20
        while not _is_up(server, port):
            assert running[-1].poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return f"{'https' if server == 'Traefik' else 'http'}://127.0.0.1:{port}"

    yield start
    for process in running:
        process.terminate()
        process.wait(20)


def _is_up(server: str, port: int) -> bool:
    """Traefik listens before it has read its routes."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{READY}", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return server != "Traefik" or error.code != 404
    except OSError:
        return False


@pytest.mark.parametrize("server", list(PROGRAMS))
def test_as_the_document_has_it(door: FrontDoor, serve: Callable[[str, str], str], server: str) -> None:
    public = serve(server, documented(server))

    told = door.told(public)

    assert [name for name, check in told.items() if not check["ok"]] == []
    assert {"path", "WebSocket", "SSE", "trusted proxies"} <= told.keys()
    with urllib.request.urlopen(f"{public}/exapps/app/public", timeout=10) as response:
        assert response.status == 200
    with urllib.request.urlopen(f"{public}/exapps/app/public/a%2Fb%20c?d=e%2Ff", timeout=10) as response:
        assert json.load(response)["target"] == "/public/a%2Fb%20c?d=e%2Ff", "nothing is decoded on the way"
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


def _with_middleware(middleware: str) -> Callable[[str], str]:
    """Traefik's router of /exapps/ gets it."""
    change = _changed("      service: harp\n", "      service: harp\n      middlewares: [wrong]\n")
    return lambda lines: change(lines) + f"  middlewares: {{wrong: {{{middleware}}}}}\n"


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
    ("Traefik", _with_middleware("stripPrefix: {prefixes: [/exapps]}"), ["path"], remedies.STRIPPED),
    (
        "Traefik",
        _with_middleware("replacePathRegex: {regex: ^/exapps/(.*), replacement: /$1}"),
        ["path"],
        remedies.STRIPPED,
    ),
    ("Traefik", _with_middleware("addPrefix: {prefix: /cloud}"), ["path"], remedies.PREFIXED),
    ("Traefik", _changed("PathPrefix(`/exapps/`)", "PathPrefix(`/apps/`)"), ["path"], remedies.NOT_PASSED),
    (
        "Traefik",
        _with_middleware('headers: {customRequestHeaders: {Upgrade: ""}}'),
        ["WebSocket"],
        remedies.WEBSOCKET,
    ),
    (
        "Traefik",
        _with_middleware("headers: {customRequestHeaders: {Connection: close}}"),
        ["WebSocket"],
        remedies.WEBSOCKET,
    ),
    ("Traefik", _with_middleware("buffering: {maxResponseBodyBytes: 1000000}"), ["SSE"], remedies.BUFFERED),
    ("Traefik", _with_middleware("buffering: {maxRequestBodyBytes: 1000000}"), ["SSE"], remedies.BUFFERED),
    (
        "Traefik",
        _with_middleware('headers: {customRequestHeaders: {X-Forwarded-For: ""}}'),
        ["trusted proxies"],
        remedies.FORWARDED,
    ),
    (
        "Traefik",
        _changed("    transport:\n", "    forwardedHeaders: {notAppendXForwardedFor: true}\n    transport:\n"),
        ["trusted proxies"],
        remedies.FORWARDED,
    ),
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


def test_traefik_may_compress(door: FrontDoor, serve: Callable[[str, str], str]) -> None:
    assert door.failed(serve("Traefik", _with_middleware("compress: {}")(documented("Traefik")))) == {}


@pytest.mark.parametrize(
    ("trusted", "arrives"),
    [("", "127.0.0.1"), ("    forwardedHeaders: {trustedIPs: [127.0.0.1]}\n", "203.0.113.5, 127.0.0.1")],
)
def test_traefik_believes_a_proxy_before_it_only_where_it_is_told_to(
    door: FrontDoor, serve: Callable[[str, str], str], trusted: str, arrives: str
) -> None:
    public = serve("Traefik", _changed("    transport:\n", f"{trusted}    transport:\n")(documented("Traefik")))
    asked = urllib.request.Request(f"{public}/exapps/app/public", headers={"X-Forwarded-For": "203.0.113.5"})

    with urllib.request.urlopen(asked, timeout=10) as response:
        assert response.status == 200

    assert door.app.last.only("X-Forwarded-For") == arrives


@pytest.mark.parametrize(("limit", "is_whole"), [("0", True), ("1s", False)])
def test_traefik_cuts_an_upload_that_takes_longer_than_its_read_timeout(
    serve: Callable[[str, str], str], limit: str, is_whole: bool
) -> None:
    """Which is 60 s where nobody says otherwise; the document says 0."""
    public = serve("Traefik", _changed("readTimeout: 0", f"readTimeout: {limit}")(documented("Traefik")))

    assert (_uploaded_slowly(public, 3.0) == 200) is is_whole


def _uploaded_slowly(public: str, seconds: float) -> int:
    """The status of an upload that takes so long; 0 where it was broken off."""
    pieces = 6
    with contextlib.closing(_connection(public)) as connection, contextlib.suppress(OSError):
        connection.putrequest("POST", "/exapps/app/public")
        connection.putheader("Content-Length", str(pieces))
        connection.endheaders()
        for _ in range(pieces):
            time.sleep(seconds / pieces)
            connection.send(b"x")
        return connection.getresponse().status
    return 0


def _connection(public: str) -> http.client.HTTPConnection:
    scheme, _, place = public.partition("://")
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    return kind(place, timeout=20)


def _answer_to(public: str, announced_bytes: int) -> int:
    """What an upload of so many bytes is answered before it has been sent; 0 where nobody objects."""
    with contextlib.closing(_connection(public)) as connection:
        connection.putrequest("POST", "/exapps/app/public")
        connection.putheader("Content-Length", str(announced_bytes))
        connection.endheaders()
        connection.send(bytes(100_000))
        assert connection.sock is not None
        connection.sock.settimeout(1.0)
        try:
            return connection.getresponse().status
        except TimeoutError:
            return 0


@pytest.mark.parametrize("server", list(PROGRAMS))
def test_an_upload_may_be_of_any_size(serve: Callable[[str, str], str], server: str) -> None:
    public = serve(server, documented(server))

    assert _answer_to(public, 5_000_000_000) == 0


LIMITED: list[tuple[str, Callable[[str], str]]] = [
    ("nginx", _changed("client_max_body_size 0", "client_max_body_size 1m")),
    ("Traefik", _with_middleware("buffering: {maxRequestBodyBytes: 1000000}")),
]


@pytest.mark.parametrize(("server", "change"), LIMITED, ids=[each[0] for each in LIMITED])
def test_one_that_limits_uploads_says_so(
    serve: Callable[[str, str], str], server: str, change: Callable[[str], str]
) -> None:
    public = serve(server, change(documented(server)))

    assert _answer_to(public, 5_000_000) == 413
