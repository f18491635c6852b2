# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Docker Engine of a test's own: dockerd in a scratch folder, with a bridge of its own and a tiny image.

It changes no packet filter of the machine (``--iptables=false``): the machine reaches its containers by their addresses
on the bridge, and they reach the machine, and nothing else. Where it cannot be started, :func:`why_not` says why.
"""

import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

IMAGE = "harp-test-app"
START_S = 60.0
END_S = 30.0
_STATIC_BUSYBOX = ("/bin/busybox", "/usr/bin/busybox")
_APPLETS = [
    "sh",
    "cat",
    "mkdir",
    "sleep",
    "echo",
    "env",
    "ls",
    "touch",
    "wget",
    "hostname",
    "true",
    "false",
    "rm",
    "stat",
]
_FOLDERS = ["bin", "etc", "tmp", "proc", "sys", "dev", "www/cgi-bin", "usr/sbin", "usr/local/share/ca-certificates"]
_SERVE = """#!/bin/sh
trap 'exit 0' TERM
echo "listening on ${APP_HOST:-127.0.0.1}:${APP_PORT:-23000}"
busybox httpd -f -p "${APP_HOST:-127.0.0.1}:${APP_PORT:-23000}" -h /www &
wait
"""
_ENVIRONMENT = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
env
"""
_UPDATE = """#!/bin/sh
ls /usr/local/share/ca-certificates > /certificates-updated
"""


def why_not() -> str:
    """Why no engine can be started here; empty if one can."""
    if os.geteuid() != 0:
        return "a Docker Engine of the test's own needs root"
    if shutil.which("dockerd") is None:
        return "dockerd is not installed (apt install docker.io)"
    if _busybox() is None:
        return "there is no static busybox to make an image of (apt install busybox-static)"
    return ""


def _busybox() -> Path | None:
    """A busybox that needs no library: it has no interpreter in its program headers."""
    for name in _STATIC_BUSYBOX:
        path = Path(name)
        if path.is_file() and b"/ld-" not in path.read_bytes()[:4096]:
            return path
    return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine answered."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class DockerEngine:
    """One dockerd; it and all its containers end with it. ``bridge`` names its bridge; empty: host network only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A socket's path may have 107 bytes, and a test's folder has more.
        self._short = Path(f"/tmp/harp-engine-{uuid.uuid4().hex[:8]}")
        self.socket = self._short / "docker.sock"
        self.bridge = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def log(self) -> str:
        return (self.folder / "dockerd.log").read_text(errors="replace")

    def start(self) -> None:
        """Returns when it answers; after a :meth:`stop`, it has what it had."""
        self._short.mkdir(mode=0o700, exist_ok=True)
        self.folder.mkdir(exist_ok=True)
        if not self.bridge:
            self.bridge = _made_bridge()
        with (self.folder / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self.log[-2000:]
                self.stop()
                raise RuntimeError(f"dockerd does not come up:\n{said}")
            time.sleep(0.1)

    def _command(self) -> list[str]:
        short = self._short
        return [
            "dockerd",
            *("--data-root", str(self.folder / "data"), "--exec-root", str(short / "exec")),
            *("--pidfile", str(short / "pid"), "-H", self.url, "--group", "root"),
            *("--bridge", self.bridge or "none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"),
            *("--ip-forward=false", "--userland-proxy=false", "--log-level", "warn"),
        ]

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.call("GET", "/_ping").status == 200
        return False

    def stop(self) -> None:
        """All containers end; what is on its disk stays."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """Nothing of it is left."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            for each in self.call("GET", "/containers/json?all=true").json:
                self.call("DELETE", f"/containers/{each['Id']}?force=true")
            for each in self.call("GET", "/networks").json:
                self.call("DELETE", f"/networks/{each['Id']}")
        self.stop()
        if self.bridge:
            subprocess.run(["ip", "link", "delete", self.bridge], check=False, capture_output=True)
        for folder in (self._short, self.folder / "data"):
            _unmount_below(folder)
            shutil.rmtree(folder, ignore_errors=True)

    def call(
        self, method: str, path: str, said: Any = None, *, body: bytes | None = None, patience_s: float = 60.0
    ) -> Answer:
        """One call of the Engine API; ``said`` goes as JSON."""
        connection = _UnixConnection(self.socket, patience_s)
        headers = {"Content-Type": "application/json" if body is None else "application/x-tar"}
        try:
            content = body if said is None else json.dumps(said).encode()
            connection.request(method, path, body=content, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()

    def make_image(
        self, name: str = IMAGE, *, changes: Sequence[str] = ('CMD ["/serve"]',), files: Mapping[str, str] = {}
    ) -> str:
        """A busybox that calls itself Debian and serves ``/heartbeat`` on APP_HOST:APP_PORT; its reference."""
        query = [("fromSrc", "-"), ("repo", name), ("tag", "latest"), *(("changes", change) for change in changes)]
        made = self.call("POST", f"/images/create?{urlencode(query)}", body=_root(files))
        assert made.status == 200, made
        assert b'"error"' not in made.body, made
        return f"{name}:latest"

    def inspect(self, container: str) -> Any:
        """What it says of a container; None where it has none of this name."""
        found = self.call("GET", f"/containers/{container}/json")
        return found.json if found.status == 200 else None

    def logs(self, container: str) -> str:
        """All that a container wrote."""
        return self.call("GET", f"/containers/{container}/logs?stdout=true&stderr=true").body.decode(errors="replace")

    def run(self, container: str, *command: str) -> tuple[int, str]:
        """Run a command in a running container; its exit code, and what it wrote."""
        asked = {"Cmd": command, "AttachStdout": True, "AttachStderr": True, "Tty": True}
        made = self.call("POST", f"/containers/{container}/exec", asked)
        assert made.status == 201, made
        number = made.json["Id"]
        said = self.call("POST", f"/exec/{number}/start", {"Detach": False, "Tty": True}).body
        return self.call("GET", f"/exec/{number}/json").json["ExitCode"], said.decode(errors="replace")


def _unmount_below(folder: Path) -> None:
    """What an engine mounts for containers in the host's network outlives it."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in mounted:
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


def _made_bridge() -> str:
    """A bridge that no other engine has, with a network of its own; empty where it cannot be made."""
    for number in range(os.getpid() % 200, os.getpid() % 200 + 50):
        name = f"harp{number}"
        made = subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=False, capture_output=True)
        if made.returncode == 0:
            for arguments in (["addr", "add", f"10.214.{number}.1/24", "dev", name], ["link", "set", name, "up"]):
                subprocess.run(["ip", *arguments], check=True, capture_output=True)
            return name
    return ""


def _root(files: Mapping[str, str]) -> bytes:
    busybox = _busybox()
    assert busybox is not None
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for folder in _FOLDERS:
            _add(tar, folder, b"", 0o755, tarfile.DIRTYPE)
        _add(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        contents = {
            "etc/os-release": 'ID=debian\nNAME="Debian GNU/Linux"\n',
            "etc/passwd": "root:x:0:0:root:/:/bin/sh\n",
            "www/heartbeat": '{"status": "ok"}',
            "www/cgi-bin/env": _ENVIRONMENT,
            "serve": _SERVE,
            "usr/sbin/update-ca-certificates": _UPDATE,
            **files,
        }
        for name, text in contents.items():
            _add(tar, name, text.encode(), 0o755)
    return written.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int, kind: bytes = tarfile.REGTYPE) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.type = len(content), mode, kind
    tar.addfile(entry, io.BytesIO(content))


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[DockerEngine]:
    """An engine with :data:`IMAGE`, until the block ends. Raises :class:`RuntimeError` with dockerd's words."""
    engine = DockerEngine(folder)
    try:
        engine.start()
        engine.make_image()
        yield engine
    finally:
        engine.remove()
