# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real frps and frpc: where they are, and clients of frps as an ExApp's image and an engine's machine have them.

They are looked for in the folder ``HARP_TEST_FRP``, then on PATH. Where they are not, :func:`why_not` says so.
"""

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "HARP_TEST_FRP"
PATIENCE_S = 15.0


def program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get(VARIABLE)) or shutil.which(name)


def why_not_inside() -> str:
    """Why frpc cannot run in a container without libraries; empty if it can."""
    found = program("frpc")
    if found is None or b"/ld-" in Path(found).read_bytes()[:4096]:
        return "frpc needs libraries that the tests' image does not have: a static one is wanted (CGO_ENABLED=0)"
    return ""


def why_not() -> str:
    """Why nothing can be tried with the real frps and frpc; empty if it can."""
    missing = [name for name in ("frps", "frpc") if program(name) is None]
    return f"there is no {' and no '.join(missing)} on PATH, nor in the folder {VARIABLE}" if missing else ""


@dataclass(slots=True)
class Frpc:
    """A client of frps that runs. ``configuration`` is all that it was told."""

    process: subprocess.Popen[bytes]
    configuration: str
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, *words: str, within_s: float = PATIENCE_S) -> str:
        """The first line that has all these words, which it writes in time."""
        deadline = time.monotonic() + within_s
        while True:
            found = [line for line in self.output.splitlines() if all(word in line for word in words)]
            if found or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        assert found, f"frpc never said {words}:\n{self.output}"
        return found[0]

    def is_refused(self, *why: str) -> None:
        """It got in, and its proxy was not opened."""
        self.says("start error", *why)
        assert "start proxy success" not in self.output

    def is_turned_away(self, *why: str) -> None:
        """It did not get in."""
        self.says("connect to server error", *why)
        assert "login to server success" not in self.output

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def configuration(
    server: str,
    token: str,
    *,
    name: str,
    port: int | str,
    local: int | str | Path,
    certificates: Path | None,
    kind: str = "tcp",
) -> str:
    """What the ExApps' own start script and HaRP's guide for engines write (contract, 4.4 and 4.5).

    ``local`` is the port or the socket that the proxy leads to; without ``certificates`` the client speaks no TLS. What
    stands for a number may be a variable of a shell's.
    """
    host, _, number = server.rpartition(":")
    lines = [f'serverAddr = "{host}"', f"serverPort = {number}", "loginFailExit = false"]
    lines.append(f"transport.tls.enable = {'false' if certificates is None else 'true'}")
    if certificates is not None:
        lines += [
            f'transport.tls.certFile = "{certificates}/client.crt"',
            f'transport.tls.keyFile = "{certificates}/client.key"',
            f'transport.tls.trustedCaFile = "{certificates}/ca.crt"',
            'transport.tls.serverName = "harp.nc"',
        ]
    lines += [f'metadatas.token = "{token}"', "[[proxies]]", f'name = "{name}"', f'type = "{kind}"']
    if kind in ("tcp", "udp"):
        lines.append(f"remotePort = {port}")
    if isinstance(local, Path):
        lines += ["[proxies.plugin]", 'type = "unix_domain_socket"', f'unixPath = "{local}"']
    else:
        lines.append(f"localPort = {local}")
    return "".join(f"{line}\n" for line in lines)


def start_script(app: str) -> str:
    """What an app's image starts with, so that it comes through FRP where AppAPI means it to (contract, 4.5)."""
    text = configuration(
        "$HP_FRP_ADDRESS:$HP_FRP_PORT",
        "$HP_SHARED_KEY",
        name="$APP_ID",
        port="$APP_PORT",
        local="$APP_PORT",
        certificates=Path("/certs/frp"),
    )
    return f"""#!/bin/sh
if [ -n "$HP_SHARED_KEY" ]; then
cat > /frpc.toml <<END
{text}END
/frpc -c /frpc.toml &
fi
exec {app}
"""


def packed(**texts: str) -> bytes:
    """frpc and programs of text as an archive for an image's root."""
    frpc, written = program("frpc"), io.BytesIO()
    assert frpc is not None
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, content in [
            ("frpc", Path(frpc).read_bytes()),
            *((name, text.encode()) for name, text in texts.items()),
        ]:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return written.getvalue()


@contextlib.contextmanager
def running(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Iterator[Frpc]:
    """frpc with this configuration."""
    frpc = program("frpc")
    assert frpc is not None
    folder.mkdir(parents=True, exist_ok=True)
    path, log = folder / "frpc.toml", folder / "frpc.log"
    path.write_text(text)
    with log.open("wb") as sink:
        process = subprocess.Popen([frpc, "-c", str(path)], stdout=sink, stderr=sink, env=environment)
    client = Frpc(process, text, log)
    try:
        yield client
    finally:
        client.end()
