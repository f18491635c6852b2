# SPDX-License-Identifier: AGPL-3.0-or-later
"""The daemon, as the command line sees it: HTTP over the home's Unix socket, answers as the model's nouns."""

import contextlib
import http.client
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from harp.base import errors
from harp.base.errors import HarpError, NotRunningError
from harp.bridge import browsing, doorway, model

_N = TypeVar("_N", bound=model.Noun)
_DEFAULT_TIMEOUT_S = 120.0


class Client:
    """Asks the daemon of ``home``. Every method raises what the daemon raised, as the same class of error.

    :class:`NotRunningError` means that no daemon answers there.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def get(self, path: str, answer: type[_N], query: Mapping[str, str] | None = None) -> _N:
        """What ``GET /v1/<path>`` answers; make ``path`` with :func:`at`."""
        target = f"{path}?{urlencode(query)}" if query else path
        return self._ask("GET", target, None, answer, _DEFAULT_TIMEOUT_S)

    def post(
        self, path: str, answer: type[_N], body: Mapping[str, object], timeout_s: float | None = _DEFAULT_TIMEOUT_S
    ) -> _N:
        """What ``POST`` answers to ``body``."""
        return self._ask("POST", path, body, answer, timeout_s)

    def put(self, path: str, answer: type[_N], body: Mapping[str, object]) -> _N:
        """What ``PUT`` answers to ``body``."""
        return self._ask("PUT", path, body, answer, _DEFAULT_TIMEOUT_S)

    def delete(self, path: str, answer: type[_N]) -> _N:
        """What ``DELETE`` answers."""
        return self._ask("DELETE", path, None, answer, _DEFAULT_TIMEOUT_S)

    def lines(self, path: str, body: Mapping[str, object]) -> Iterator[model.Progress]:
        """The progress that ``POST`` answers, line by line; ends with one that is done or failed, or raises."""
        decoder = msgspec.json.Decoder(model.Progress)
        with self._answer("POST", path, body, None) as response:
            while line := _read(response.readline):
                progress = decoder.decode(line)
                yield progress
                if progress.phase.is_last:
                    return
        raise NotRunningError("the daemon stopped in the middle of it", hint="start it again: `harp up`")

    def events(self) -> Iterator[browsing.Event]:
        """What the daemon tells of changes, as long as it runs; then :class:`NotRunningError`."""
        decoder = msgspec.json.Decoder(browsing.Event)
        with self._answer("GET", at("events"), None, None) as response:
            while line := _read(response.readline):
                yield decoder.decode(line)
        raise NotRunningError("the daemon stopped", hint="start it again: `harp up`")

    def _ask(
        self, method: str, path: str, body: Mapping[str, object] | None, answer: type[_N], timeout_s: float | None
    ) -> _N:
        with self._answer(method, path, body, timeout_s) as response:
            raw = _read(response.read)
        try:
            return msgspec.json.decode(raw, type=answer)
        except msgspec.MsgspecError as error:
            raise _not_understood() from error

    @contextlib.contextmanager
    def _answer(
        self, method: str, path: str, body: Mapping[str, object] | None, timeout_s: float | None
    ) -> Iterator[http.client.HTTPResponse]:
        """The response, if it is a good one; the connection is closed afterwards."""
        link = _Connection(self.home, timeout_s)
        try:
            with _mapped(self.home):
                content = None if body is None else msgspec.json.encode(body)
                link.request(method, path, content, {"Content-Type": "application/json"} if content else {})
                response = link.getresponse()
                failure = response.read() if response.status >= 300 else b""
            if response.status >= 300:
                raise _told(failure)
            yield response
        finally:
            link.close()


def at(*parts: str) -> str:
    """The path of a route under ``/v1``, each part quoted whole."""
    return "/v1/" + "/".join(quote(part, safe="", errors="surrogateescape") for part in parts)


class _Connection(http.client.HTTPConnection):
    def __init__(self, home: Path, timeout_s: float | None) -> None:
        super().__init__("localhost")
        self._home = home
        self._wait_s = timeout_s

    def connect(self) -> None:
        self.sock: socket.socket = doorway.connected(self._home, self._wait_s)


@contextlib.contextmanager
def _mapped(home: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        raise NotRunningError(
            f"no daemon runs in {home}", hint="start it with `harp up`, or name its --home"
        ) from error
    except PermissionError as error:
        raise NotRunningError(f"the daemon in {home} belongs to someone else", hint="ask as its user") from error
    except TimeoutError as error:
        raise NotRunningError("the daemon does not answer in time", hint="`harp doctor`, or look at its log") from error
    except (OSError, http.client.HTTPException) as error:
        raise NotRunningError("the daemon went away", hint="start it again: `harp up`") from error


def _read(read: Callable[[], bytes]) -> bytes:
    with _mapped(Path()):
        return read()


def _told(raw: bytes) -> HarpError:
    """The error that the daemon raised."""
    try:
        answer = msgspec.json.decode(raw, type=model.ErrorAnswer)
    except msgspec.MsgspecError:
        return _not_understood()
    kind = getattr(errors, answer.error, HarpError)
    is_ours = isinstance(kind, type) and issubclass(kind, HarpError)
    error: HarpError = (kind if is_ours else HarpError)(answer.message, hint=answer.hint)
    error.exit_code = answer.exit_code
    return error


def _not_understood() -> HarpError:
    return HarpError("the daemon's answer is not understood", hint="is it of another version? harp down, then harp up")
