# SPDX-License-Identifier: AGPL-3.0-or-later
"""Network namespaces without a name: they, and all links in them, are gone with the last process that holds them.

Nothing is written to /run/netns, so nothing is left behind by whoever made them, not even after SIGKILL.
"""

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence

_CLONE_NEWNET = 0x40000000  # unshare(2), setns(2)
_OWN = "/proc/thread-self/ns/net"
_NEEDED = ("ip", "tc", "setpriv")
_WAIT_S = 20.0


def tied(argv: Sequence[str], *, by: str = "KILL", user: str = "") -> list[str]:
    """A command that ends when the thread that starts it does, however that ends: prctl(2), PR_SET_PDEATHSIG.

    ``by`` is the signal it is sent; TERM for one that has to end others of its own. With ``user`` it is that
    user's, which takes the rights of root.

    The shell sees to it that the starter still lived when that was set, and is then replaced by the command.
    """
    if_not_orphaned = '[ "$PPID" = "$0" ] && exec "$@"'
    # A change of user unties it.
    changed = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--pdeathsig", by] if user else []
    return ["setpriv", "--pdeathsig", by, "sh", "-c", if_not_orphaned, str(os.getpid()), *changed, *argv]


def why_not() -> str | None:
    """Why no laboratory can be built here, in one line; None where one can."""
    if os.geteuid() != 0:
        return "network namespaces need the rights of root"
    if missing := [name for name in _NEEDED if shutil.which(name) is None]:
        return f"not installed: {', '.join(missing)} (sudo apt install iproute2 util-linux)"
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun (modprobe tun)"
    try:
        Namespace().close()
    except OSError as error:
        return f"no network namespace can be made: {error.strerror}"
    return None


class Namespace:
    """One network namespace, with its loopback up, until :meth:`close` and the end of what runs in it."""

    def __init__(self) -> None:
        with _kept():
            _check(_libc.unshare(_CLONE_NEWNET))
            self._handle = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        # An address is good at once: nobody here has the same.
        self.sysctl(ipv6__conf__default__accept_dad="0")
        self.ip(["link set lo up"])

    @property
    def path(self) -> str:
        """How `ip link … netns PATH` names it, while it is open."""
        return f"/proc/{os.getpid()}/fd/{self._handle}"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in it: sockets opened and processes started meanwhile stay there."""
        with _kept():
            _check(_libc.setns(self._handle, _CLONE_NEWNET))
            yield

    def ip(self, lines: Sequence[str]) -> None:
        """The commands of `ip -batch`."""
        self._batch("ip", lines)

    def tc(self, lines: Sequence[str]) -> None:
        """The commands of `tc -batch`."""
        self._batch("tc", lines)

    def sysctl(self, **values: str) -> None:
        """Settings below ``net.``; two underscores stand for a dot."""
        with self.entered():
            for name, value in values.items():
                with open(f"/proc/sys/net/{name.replace('__', '/')}", "w") as setting:
                    setting.write(value)

    def until_up(self) -> None:
        """Waits until every veth here carries: the kernel switches a new one on up to a second later (linkwatch)."""
        deadline = time.monotonic() + _WAIT_S
        while any(state != "UP" for state in self._states()):
            if time.monotonic() > deadline:
                raise OSError("links that were made do not come up")
            time.sleep(0.01)

    def _states(self) -> list[str]:
        with self.entered():
            said = subprocess.run(
                ["ip", "-json", "link", "show", "type", "veth"],
                capture_output=True,
                timeout=_WAIT_S,
                check=True,
            )
        return [link["operstate"] for link in json.loads(said.stdout or "[]") if link]

    def _batch(self, program: str, lines: Sequence[str]) -> None:
        with self.entered():
            done = subprocess.run(
                [program, "-batch", "-"],
                input="".join(line + "\n" for line in lines),
                capture_output=True,
                text=True,
                timeout=_WAIT_S,
                check=False,
            )
        if done.returncode != 0:
            raise OSError(f"{program}: {done.stderr.strip()} in: {'; '.join(lines)}")

    def close(self) -> None:
        os.close(self._handle)


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """The calling thread is where it was, afterwards."""
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        _check(_libc.setns(own, _CLONE_NEWNET))
        os.close(own)


_libc = ctypes.CDLL(None, use_errno=True)


def join(path: str) -> None:
    """The calling process, which has but one thread, is in the namespace at :attr:`Namespace.path` from now on."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    _check(_libc.setns(handle, _CLONE_NEWNET))
    os.close(handle)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
