# SPDX-License-Identifier: AGPL-3.0-or-later
"""The agent that HAProxy asks: one SPOP connection is one task, questions on it are answered in any order."""

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from harp.base.runtime import Counters, Tasks
from harp.base.sockets import short_name
from harp.proxy.edge import spop
from harp.proxy.judge import Granted, Question, Refused, Ruling
from harp.proxy.model import CredentialKey, Credentials
from harp.proxy.policy.shape import MODULUS, WAIT_S

_log = logging.getLogger(__name__)

Rule = Callable[[Question], Awaitable[Ruling]]


class Agent:
    """Speaks SPOP 2.0 on a Unix socket or a TCP port, and asks ``rule``."""

    def __init__(self, rule: Rule, tasks: Tasks, counters: Counters) -> None:
        self._rule = rule
        self._tasks = tasks
        self._counters = counters
        self._server: asyncio.Server | None = None
        self._asked = counters.counter("harp_proxy_questions_total", "Questions of HAProxy to the agent.")
        self._waits = counters.counter("harp_proxy_waits_total", "Questions answered with: ask again.")

    async def start(self, address: str) -> None:
        """Listens: ``unix@PATH`` or ``HOST:PORT``."""
        if address.startswith("unix@"):
            with short_name(Path(address.removeprefix("unix@"))) as name:
                self._server = await asyncio.start_unix_server(self._connected, name, backlog=1024)
        else:
            host, _, port = address.rpartition(":")
            self._server = await asyncio.start_server(self._connected, host, int(port), backlog=1024)

    def close(self) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await self._greeted(reader, writer):
                while await self._frame(reader, writer):
                    pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # HAProxy closes idle connections as it likes
        except asyncio.CancelledError:
            pass  # the agent ends; Python 3.11's streams would write that down as an error of theirs
        except spop.MalformedFrame as error:
            _log.warning("a peer on the agent's socket does not speak SPOP: %s", error)
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> spop.Frame:
        length = spop.frame_length(await reader.readexactly(4))
        return spop.decode_frame(await reader.readexactly(length))

    async def _greeted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        frame = await self._read(reader)
        if frame.kind != spop.Kind.HAPROXY_HELLO:
            raise spop.MalformedFrame("the first frame is no HELLO")
        offered = spop.decode_pairs(frame.payload)
        size = offered.get("max-frame-size")
        if not isinstance(size, int) or size < spop.MIN_FRAME:
            raise spop.MalformedFrame("HELLO names no size of frames")
        # Every HAProxy offers pipelining, and an unknown capability may be ignored.
        answer: dict[str, str | int] = {
            "version": spop.VERSION,
            "max-frame-size": min(size, spop.MAX_FRAME),
            "capabilities": "pipelining",
        }
        writer.write(spop.encode_frame(spop.Kind.AGENT_HELLO, 0, 0, _hello(answer)))
        await writer.drain()
        return offered.get("healthcheck") is not True

    async def _frame(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on after the next frame."""
        frame = await self._read(reader)
        if frame.kind == spop.Kind.NOTIFY:
            for _name, arguments in spop.decode_messages(frame.payload):
                self._tasks.start("question", self._answer(writer, frame, arguments))
            return True
        if frame.kind == spop.Kind.HAPROXY_DISCONNECT:
            farewell = spop.encode_pairs({"status-code": 0, "message": ""})
            writer.write(spop.encode_frame(spop.Kind.AGENT_DISCONNECT, 0, 0, farewell))
            await writer.drain()
            return False
        return True  # unknown frames may be skipped (section 3.2.2)

    async def _answer(
        self, writer: asyncio.StreamWriter, frame: spop.Frame, arguments: Mapping[str, spop.Value]
    ) -> None:
        self._asked.add()
        try:
            async with asyncio.timeout(WAIT_S):
                ruling = await self._rule(question_from(arguments))
            variables = variables_for(ruling)
            if isinstance(ruling, Refused):
                self._counters.counter(
                    "harp_proxy_refusals_total", "Refusals by the agent.", reason=ruling.why.reason
                ).add()
        except TimeoutError:
            self._waits.add()
            variables = {"wait": True}
        if not writer.is_closing():
            writer.write(spop.encode_frame(spop.Kind.ACK, frame.stream, frame.number, spop.encode_set_vars(variables)))


def _hello(pairs: Mapping[str, str | int]) -> bytes:
    """HELLO's numbers are UINT32, where all others travel as INT64."""
    out = b""
    for name, value in pairs.items():
        encoded = b"\x03" + spop.encode_varint(value) if isinstance(value, int) else spop.encode_value(value)
        out += spop.encode_text(name) + encoded
    return out


def question_from(arguments: Mapping[str, spop.Value]) -> Question:
    """HAProxy's arguments as a question; what is absent comes as NULL."""

    def text(name: str) -> str:
        value = arguments.get(name)
        return value if isinstance(value, str) else ""

    raw, key = arguments.get("ip"), arguments.get("cred")
    client = str(ipaddress.ip_address(raw)) if isinstance(raw, bytes) and len(raw) in (4, 16) else ""
    return Question(
        spelled=text("app"),
        target=text("target"),
        has_key=arguments.get("key") is True,
        is_signed=arguments.get("signed") is True,
        key=CredentialKey(key) if isinstance(key, str) else None,
        has_passphrase=arguments.get("passphrase") is True,
        credentials=Credentials(text("cookie"), text("auth"), text("agent"), text("lang"), client),
        host=text("host"),
        port=text("port"),
        version=text("version"),
    )


def variables_for(ruling: Ruling) -> dict[str, spop.Value]:
    """What HAProxy is told, in the names of ``policy.configuration``."""
    variables: dict[str, spop.Value] = {"wait": False}
    if ruling.caller is not None:
        variables |= {
            "uid": ruling.caller.number,
            "user": ruling.caller.text,
            "until": int(ruling.caller.until * 1000) % MODULUS,
        }
    if isinstance(ruling, Granted):
        variables |= {
            "st": 200,
            "address": ruling.upstream.address,
            "port": ruling.upstream.port,
            "version": ruling.version,
            "strip": ruling.strip_authorization,
        }
        if ruling.header is not None:
            variables["text"] = ruling.header
        if ruling.route is not None:
            variables["route"] = ":".join(str(int(n)) for n in (ruling.route.level, *ruling.route.statuses))
        return variables
    return variables | {"st": ruling.why.status, "why": ruling.why.reason, "count": ruling.counts}
