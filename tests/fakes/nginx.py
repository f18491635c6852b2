# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real nginx with one path that goes to a hub, and a wire behind it that keeps all it carries."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.lab.site import Host
from tests.fakes.certificates import Certificate

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

# As docs/how-to/hub-behind-nextcloud.md has it, but for names and paths.
CONFIGURATION = """
daemon off;
worker_processes 1;
pid {run}/nginx.pid;
error_log {run}/error.log;
{user}
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {run}/body;
  proxy_temp_path {run}/proxy;
  fastcgi_temp_path {run}/fastcgi;
  uwsgi_temp_path {run}/uwsgi;
  scgi_temp_path {run}/scgi;
  server {{
    listen {listen} {ssl};
    {certificate}
    location {path} {{
      proxy_pass http://127.0.0.1:{to};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_set_header Host $host;
    }}
  }}
}}
"""


class Nginx:
    """Started and stopped at will; on a ``host`` of a laboratory or here."""

    def __init__(
        self, run: Path, listen: str, path: str, to: int, paper: Certificate | None = None, host: Host | None = None
    ) -> None:
        run.mkdir(exist_ok=True)
        self.listen = listen
        self._file = run / "nginx.conf"
        self._host = host
        self._process: subprocess.Popen[bytes] | None = None
        text = CONFIGURATION.format(
            run=run,
            listen=listen,
            path=path,
            to=to,
            ssl="ssl" if paper else "",
            user="user root;" if os.geteuid() == 0 else "",
            certificate=f"ssl_certificate {paper.path}; ssl_certificate_key {paper.path};" if paper else "",
        )
        self._file.write_text(text)

    def start(self) -> "Nginx":
        with self._there():
            self._process = subprocess.Popen([str(NGINX), "-c", str(self._file), "-p", str(self._file.parent)])
            deadline = time.monotonic() + 20
            where, _, port = self.listen.rpartition(":")
            while True:
                assert self._process.poll() is None, (self._file.parent / "error.log").read_text()
                with contextlib.suppress(OSError):
                    socket.create_connection((where, int(port)), timeout=1).close()
                    return self
                assert time.monotonic() < deadline, "nginx does not come up"
                time.sleep(0.02)

    def stop(self) -> None:
        """At once, with all that goes through it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def _there(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._host is None else self._host.namespace.entered()


class Tap:
    """A wire to ``to`` on this machine: what went through it is kept, (there, back) by connection."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.kept: list[tuple[bytearray, bytearray]] = []
        self._open: list[socket.socket] = []
        self._pumps: list[threading.Thread] = []

    @contextlib.contextmanager
    def running(self, host: Host) -> Iterator["Tap"]:
        """Its threads are in the namespace of ``host``, where it was made."""
        accepting = threading.Thread(target=self._accept, args=(host,), daemon=True)
        accepting.start()
        yield self
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        accepting.join(20)
        for pump in self._pumps:
            pump.join(20)
        for one in self._open:
            one.close()

    def _accept(self, host: Host) -> None:
        with host.namespace.entered():
            while True:
                try:
                    near, _ = self._server.accept()
                except OSError:
                    return
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    near.close()
                    continue
                there, back = bytearray(), bytearray()
                self.kept.append((there, back))
                self._open += near, far
                for one, other, into in ((near, far, there), (far, near, back)):
                    self._pumps.append(threading.Thread(target=_pumped, args=(one, other, into), daemon=True))
                    self._pumps[-1].start()


def _pumped(one: socket.socket, other: socket.socket, into: bytearray) -> None:
    with contextlib.suppress(OSError):
        while piece := one.recv(1 << 16):
            into += piece
            other.sendall(piece)
    for end in (one, other):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
