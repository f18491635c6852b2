# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the daemons of an office begin: as forks of one process that has loaded the daemon's modules and done nothing.

Seven eighths of what a daemon costs a test is the loading of its modules. What runs here is the command itself in a
process of its own, with its own environment, output, namespace and end. It differs from one that was started as it is
installed in what came before ``main``; the tutorials, the images, the proxies and every verb are started so.
"""

import atexit
import ctypes
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.lab import namespace

_LOAD_S = 60.0
_MESSAGE_BYTES = 1 << 17
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Born:
    """A daemon that was born here, to be asked like a :class:`subprocess.Popen`."""

    def __init__(self, nursery: "_Nursery", pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self._handle = os.pidfd_open(pid)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """What it ended with, as subprocess says it; None while it runs."""
        return self._ended_within(0.0)

    def wait(self, timeout_s: float) -> int:
        """The same, once it has ended. Raises :class:`subprocess.TimeoutExpired`."""
        code = self._ended_within(timeout_s)
        if code is None:
            raise subprocess.TimeoutExpired("harp", timeout_s)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended_within(self, timeout_s: float) -> int | None:
        if self.returncode is None and select.select([self._handle], [], [], timeout_s)[0]:
            self.returncode = self._nursery.code_of(self.pid)
            os.close(self._handle)
        return self.returncode


class _Nursery:
    """The process that forks, as seen from the tests: it ends with them, and all that were born in it with it."""

    def __init__(self) -> None:
        self._line, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.settimeout(_LOAD_S)
        self._turn = threading.Lock()
        with its:
            # As an office asks of its daemons: nothing they print waits, and a signal shows where each thread was.
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-X", "faulthandler", "-m", __name__, str(its.fileno())],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
            )
        atexit.register(self._close)

    def born(self, words: Sequence[str], environ: Mapping[str, str], log: int, network: str) -> Born:
        said = {"words": list(words), "environ": dict(environ), "folder": os.getcwd(), "network": network}
        return Born(self, self._asked(said, log))

    def code_of(self, pid: int) -> int:
        """How one ended that has ended."""
        return self._asked({"ended": pid})

    def _asked(self, said: Mapping[str, object], *handles: int) -> int:
        with self._turn:
            socket.send_fds(self._line, [json.dumps(said).encode()], handles)
            return int(self._line.recv(64))

    def _close(self) -> None:
        self._line.close()
        self._process.wait(_LOAD_S)


_nursery = functools.cache(_Nursery)


def born(words: Sequence[str], *, environ: Mapping[str, str], log: int, network: str = "") -> Born:
    """``harp WORDS`` begins; it writes to the file ``log``, and is in the namespace at ``network``."""
    return _nursery().born(words, environ, log, network)


# --- in the process that forks ----------------------------------------------------------------------------------------


def _run(line: socket.socket) -> list[str]:
    """Forks for whoever asks; returns in each fork, with the words that it is to run. Ends with the line."""
    while True:
        message, handles, _, _ = socket.recv_fds(line, _MESSAGE_BYTES, 1)
        if not message:
            sys.exit()
        said = json.loads(message)
        if "ended" in said:
            answer = os.waitstatus_to_exitcode(os.waitpid(said["ended"], 0)[1])
        elif (answer := os.fork()) == 0:
            line.close()
            _become(handles[0], said["environ"], said["folder"], said["network"])
            return list(said["words"])
        for handle in handles:
            os.close(handle)
        line.send(str(answer).encode())


def _become(log: int, environ: Mapping[str, str], folder: str, network: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if network:
        namespace.join(network)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()


def _main() -> None:
    from harp.cli import main, process  # noqa: F401
    from harp.daemon import composition  # noqa: F401

    assert len(os.listdir("/proc/self/task")) == 1, "what has threads must not fork"
    gc.freeze()
    words = _run(socket.socket(fileno=int(sys.argv[1])))
    sys.argv[:] = ["harp", *words]
    main.main()


if __name__ == "__main__":
    _main()
