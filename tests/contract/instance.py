# SPDX-License-Identifier: AGPL-3.0-or-later
"""A HaRP under test: started with the variables of the contract, or one that runs already.

======================== ==============================================================================================
``HARP_TEST_COMMAND``    what starts a HaRP in the foreground from its environment; default: ``harp proxy``
``HARP_TEST_REFERENCE``  ``1``: it is the reference, which deliberate deviations are measured from
``HARP_TEST_URL``        one that runs already, in place of a command, e.g. ``http://127.0.0.1:8780``. Its
                         NC_INSTANCE_URL has to be ``http://127.0.0.1:$HARP_TEST_NEXTCLOUD_PORT``; tests that need
                         other settings or a restart skip. Beyond loopback, it has to trust this machine as a proxy
``HARP_TEST_KEY``        that one's shared key
``HARP_TEST_HAPROXY``    the HAProxy that Harp runs; default: the one on PATH
``HARP_TEST_TABLE``      where to write the table of numbers and outcomes
======================== ==============================================================================================
"""

import contextlib
import ipaddress
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.processes import family
from tests.contract.talk import CLOSED, SILENCE, Caller, Headers, Reply, next_address
from tests.fakes.certificates import TRUSTS_NOBODY
from tests.fakes.haproxy import HAPROXY
from tests.fakes.ports import free_port

IS_REFERENCE = os.environ.get("HARP_TEST_REFERENCE") == "1"
URL = os.environ.get("HARP_TEST_URL", "")
NEXTCLOUD_PORT = int(os.environ.get("HARP_TEST_NEXTCLOUD_PORT") or 0)
_COMMAND = os.environ.get("HARP_TEST_COMMAND") or f"{Path(sys.executable).parent / 'harp'} proxy"
_READY_S = 60.0
_END_S = 15.0
CONTROL = "/exapps/app_api"


@dataclass(slots=True)
class Program:
    """A command that starts a HaRP, once. ``left_behind``: what of it outlived its end, and was killed then."""

    process: subprocess.Popen[bytes]
    log: Path
    left_behind: list[str] = field(default_factory=list)

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def family(self, *, but: str = "") -> list[int]:
        """Its processes, without those whose program is called ``but``."""
        return [pid for pid in family(self.process.pid) if not but or _program(pid) != but]

    def member(self, name: str) -> int | None:
        """Its one process whose program is called so, if there is one just now."""
        found = [pid for pid in self.family() if _program(pid) == name]
        assert len(found) < 2, found
        return found[0] if found else None

    def only(self, name: str) -> int:
        """Its one process whose program is called so."""
        pid = self.member(name)
        assert pid is not None, f"no {name} runs"
        return pid

    def end(self) -> int:
        """Ask it to end; what it ended with. Kills it after 15 s, and then says −9."""
        return self._awaited(signal.SIGTERM)

    def kill(self) -> None:
        self._awaited(signal.SIGKILL)

    def wait(self, patience_s: float) -> int | None:
        """What it ended with by itself, or None."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(patience_s)
        return None

    def _awaited(self, number: int) -> int:
        members = self.family()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = -signal.SIGKILL
        deadline = time.monotonic() + 2
        while (alive := [pid for pid in members if _is_alive(pid)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in alive:
            self.left_behind.append(_program(pid))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return code


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def started(folder: Path, settings: Mapping[str, str]) -> Program:
    """Run the command with a home and folders of its own; whatever the tester has set of ``HP_*`` does not count."""
    folder.mkdir(parents=True, exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HP_", "HARP_", "NC_"))}
    if reference := os.environ.get("HARP_TEST_REFERENCE_PYTHON"):
        inherited["HARP_REFERENCE_PYTHON"] = reference
    home = folder / "home"
    home.mkdir(exist_ok=True)
    own = {"HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "XDG_RUNTIME_DIR": str(home)}
    log = folder / f"output-{time.monotonic_ns()}"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            shlex.split(_COMMAND),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**TRUSTS_NOBODY, **inherited, **own, **settings},
            start_new_session=True,
        )
    return Program(process, log)


def own_addresses() -> dict[str, str]:
    """Addresses that nobody else listens on."""
    served = ("EXAPPS", "EXAPPS_HTTPS", "FRP", "SPOA", "METRICS")
    return {f"HP_{name}_ADDRESS": f"127.0.0.1:{free_port()}" for name in served}


@dataclass(slots=True)
class Harp:
    """One that answers. ``program`` is None where the suite did not start it."""

    host: str
    port: int
    key: str
    program: Program | None = None
    is_reference: bool = IS_REFERENCE

    def caller(self, address: str | None = None) -> Caller:
        """Somebody at ``address``, by default at one that nobody had before."""
        on_loopback = ipaddress.ip_address(socket.gethostbyname(self.host)).is_loopback
        return Caller(self.host, self.port, address or next_address(), is_forwarded=not on_loopback)

    def control(
        self,
        method: str,
        path: str,
        said: Any = None,
        *,
        headers: Headers = (),
        body: bytes | None = None,
        key: str | None = None,
        caller: Caller | None = None,
        patience_s: float = 15.0,
    ) -> Reply:
        """What AppAPI would ask; ``said`` goes as JSON, ``body`` as it is. ``key=""``: none."""
        key = self.key if key is None else key
        own: list[tuple[str, str]] = [("harp-shared-key", key)] if key else []
        if said is not None:
            own.append(("Content-Type", "application/json"))
            body = json.dumps(said).encode()
        asking = caller or self.caller()
        return asking.ask(method, CONTROL + path, [*own, *headers], body, patience_s=patience_s)

    def store(self, app: str, record: Any) -> Reply:
        return self.control("POST", f"/exapp_storage/{app}", record)

    def signed(self, app: str, port: int, *, user: str = "alice", host: str = "127.0.0.1") -> list[tuple[str, str]]:
        """The six headers of a request that Nextcloud itself makes."""
        return [
            ("EX-APP-ID", app),
            ("EX-APP-VERSION", "9.9.9"),
            ("EX-APP-HOST", host),
            ("EX-APP-PORT", str(port)),
            ("AUTHORIZATION-APP-API", signed_token(user)),
            ("harp-shared-key", self.key),
        ]

    @contextlib.contextmanager
    def hung(self) -> Iterator[None]:
        """All of its processes stand still, save HAProxy."""
        assert self.program is not None
        still = self.program.family(but=Path(HAPROXY).name)
        try:
            for pid in still:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in still:
                os.kill(pid, signal.SIGCONT)


def signed_token(user: str) -> str:
    """The AUTHORIZATION-APP-API that AppAPI itself makes up."""
    return f"c2lnbmVkOn{user}"


def ready(program: Program, settings: Mapping[str, str], key: str) -> Harp:
    """The HaRP that was started, once it answers AppAPI."""
    host, _, port = settings["HP_EXAPPS_ADDRESS"].rpartition(":")
    harp = Harp(host, int(port), key, program)
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if program.process.poll() is not None:
            break
        # An address that no test is banned with; a HaRP that starts must not be banned for asking early.
        reply = harp.control("GET", "/heartbeat", caller=harp.caller("127.0.0.1"), patience_s=2.0)
        if reply.status == 200:
            return harp
        if reply.status not in (SILENCE, CLOSED, 502, 503, 504):
            raise AssertionError(f"/heartbeat with the right key: {reply.status} {reply.body!r}")
        time.sleep(0.1)
    code = program.end()
    raise AssertionError(f"it does not serve (ended with {code}):\n{program.output[-3000:]}")


def running(key: str) -> Harp:
    """The one of ``HARP_TEST_URL``."""
    parts = urlsplit(URL)
    assert parts.hostname, f"HARP_TEST_URL={URL}: no host"
    return Harp(parts.hostname, parts.port or 80, key)
