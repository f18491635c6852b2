# SPDX-License-Identifier: AGPL-3.0-or-later
"""One secured session with one device: a thread that reads, one that writes, one for large answers that came.

The two directions of a session share nothing, so the reader and the writer never wait for each other.
"""

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Container, Iterator
from typing import Protocol

from harp.base.errors import HarpError, RemoteProtocolError
from harp.identity.device import DeviceId, short
from harp.sync.protocol.frames import ANSWER_HEADER, ANSWER_TYPE, HEADER, MAX_PAYLOAD
from harp.sync.transport.carrier import Carrier, Flow
from harp.sync.transport.inflow import Inflow
from harp.sync.transport.outflow import Bulk, Outflow, ReadInto
from harp.sync.transport.pacer import Pacer
from harp.sync.transport.records import MAX_PLAINTEXT, reserved
from harp.sync.transport.tls import TlsMachine
from harp.sync.transport.unloading import Unloading

log = logging.getLogger(__name__)

FLUSH_S = 1.0
"""How long a link that is closed may take to send what control still waits."""

_UNLOAD_BYTES = 64 * 1024
"""From here on an answer is handed on by another thread; a smaller one costs less than the change of threads, and goes
there only to stay behind one that went before it."""
_ANSWER_START = HEADER.size + ANSWER_HEADER.size
_THREADS = 2


class Receiver(Protocol):
    """Who is told what a link brings: frames in the order received, and answers in theirs, on two threads of the link.

    As long as a call takes, nothing more is read, or not much more of answers: that is the back-pressure.
    """

    def on_frame(self, link: "Link", type: int, body: bytes) -> None:
        """A whole frame of any type but ANSWER."""

    def on_answer(self, link: "Link", request: int, status: int, payload: memoryview) -> None:
        """An answer; ``payload`` is valid during this call only."""

    def on_closed(self, link: "Link", why: str) -> None:
        """The link has ended; called exactly once, and last. A ``read_into`` that was under way may still end later."""


class Link:
    """A session that was made (both keys are known); silent until :meth:`start`.

    ``admitted`` is what the doorman said of the knock (None at the dialler). ``bytes_in`` and ``bytes_out`` count
    ciphertext, ``heard_at`` is ``time.monotonic()`` of the last byte that came.
    """

    def __init__(self, carrier: Carrier, machine: TlsMachine, *, is_dialler: bool, admitted: object = None) -> None:
        self.peer: DeviceId = machine.peer
        self.is_dialler = is_dialler
        self.remote = carrier.remote
        self.admitted = admitted
        self.bytes_in = 0
        self.bytes_out = 0
        self.heard_at = time.monotonic()
        self.pacer: Pacer | None = None
        """Keeps the limits of the line that the link goes over."""
        self._carrier = carrier
        self._machine = machine
        self._outflow = Outflow()
        self._state_lock = threading.Lock()
        self._why: str | None = None
        self._is_started = False
        self._threads_left = _THREADS
        self._flush_timer: threading.Timer | None = None

    def __repr__(self) -> str:
        role = "dialler" if self.is_dialler else "listener"
        state = "open" if self._why is None else f"closed: {self._why}"
        return f"Link({short(self.peer)}, {role}, {state})"

    @property
    def backlog_bytes(self) -> int:
        """How much control waits to be sent."""
        return self._outflow.backlog_bytes

    @property
    def waiting_answers(self) -> int:
        """How many answers wait to be sent."""
        return self._outflow.waiting_answers

    def flow(self) -> Flow:
        """How far what was sent has come."""
        return self._carrier.flow()

    def start(self, receiver: Receiver) -> None:
        """Begin to read and to write; to be called once, also on a link that was closed meanwhile."""
        with self._state_lock:
            self._is_started = True
        name = f"harp {short(self.peer)}"
        threading.Thread(target=self._write, name=f"{name} writer", daemon=True).start()
        threading.Thread(target=self._read, args=(receiver,), name=f"{name} reader", daemon=True).start()

    def send(self, data: bytes) -> None:
        """Queue whole frames, already encoded, before all bulk. Never blocks; a backlog over 64 MiB ends the link."""
        if not self._outflow.put_control(data):
            self._break("the peer takes nothing in")

    def serve(self, request: int, read_into: ReadInto) -> None:
        """Queue an answer: ``read_into`` is called on the writer thread with 1 MiB of room when its turn comes.

        It puts the payload there and gives (status, length). Never blocks; over 16,384 waiting answers end the link.
        """
        if not self._outflow.put_bulk(Bulk(request, read_into)):
            self._break("the peer asks for more than it may")

    def cancel(self, requests: Container[int]) -> None:
        """Drop the answers to ``requests`` that were not begun."""
        self._outflow.drop(requests)

    def close(self, why: str = "") -> None:
        """End the link: control that waits goes out within a second, answers do not. Never blocks; any thread."""
        with self._state_lock:
            if self._why is not None:
                return
            self._why = why or "closed"
            if not self._is_started:
                self._carrier.shut()
                self._carrier.close()
                return
            self._flush_timer = threading.Timer(FLUSH_S, self._carrier.shut)
            self._flush_timer.daemon = True
            self._flush_timer.name = f"harp {short(self.peer)} flush"
            self._flush_timer.start()
        self._outflow.finish()

    # --- the reader ---------------------------------------------------------------------------------------------------

    def _read(self, receiver: Receiver) -> None:
        unloading = Unloading(functools.partial(self._unload, receiver), f"harp {short(self.peer)} answers")
        with self._broken_by_errors():
            self._break(self._received(receiver, unloading))
        unloading.finish()
        self._leave()
        receiver.on_closed(self, self._why or "closed")

    def _unload(self, receiver: Receiver, request: int, status: int, payload: memoryview) -> None:
        if self._why is None:
            with self._broken_by_errors():
                receiver.on_answer(self, request, status, payload)

    @contextlib.contextmanager
    def _broken_by_errors(self) -> Iterator[None]:
        """Whatever goes wrong within ends the link, and is its reason."""
        try:
            yield
        except HarpError as error:
            self._break(error.message)
        except OSError as error:
            self._break(f"the connection broke: {error.strerror or type(error).__name__}")
        except Exception:
            log.exception("a thread of %r failed", self)
            self._break("a defect of Harp; its log says more")

    def _received(self, receiver: Receiver, unloading: Unloading) -> str:
        """Read until the end and say what ended it."""
        inflow = Inflow()
        while True:
            # First what came in one piece with the end of the handshake.
            while length := self._machine.read_into(inflow.space()):
                inflow.filled(length)
                self._deliver(inflow, receiver, unloading)
            if self._machine.has_ended:
                return "the peer closed the link"
            length = self._carrier.recv_into(self._machine.space())
            if not length:
                return "the connection broke off"
            self.bytes_in += length
            self.heard_at = time.monotonic()
            self._machine.filled(length)

    def _deliver(self, inflow: Inflow, receiver: Receiver, unloading: Unloading) -> None:
        """Hand on each whole frame; those behind a close are read, since the peer may still be writing, and dropped."""
        while (frame := inflow.next_frame()) is not None:
            if self._why is not None:
                continue
            type, body = frame
            if type != ANSWER_TYPE:
                receiver.on_frame(self, type, bytes(body))
                continue
            if len(body) < ANSWER_HEADER.size:
                raise RemoteProtocolError("an answer is shorter than its header")
            request, status = ANSWER_HEADER.unpack_from(body)
            payload = body[ANSWER_HEADER.size :]
            if len(payload) < _UNLOAD_BYTES and unloading.is_idle:
                receiver.on_answer(self, request, status, payload)
            else:
                unloading.put(request, status, payload, inflow.room.keep())

    # --- the writer ---------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        with self._broken_by_errors():
            self._sent()
        self._leave()

    def _sent(self) -> None:
        """Send until the outflow ends, then say goodbye."""
        answer = reserved(_ANSWER_START + MAX_PAYLOAD)
        while (work := self._outflow.take()) is not None:
            if isinstance(work, bytes):
                self._encrypt_and_send(memoryview(work))
            else:
                status, length = work.read_into(answer[_ANSWER_START:])
                HEADER.pack_into(answer, 0, 1 + ANSWER_HEADER.size + length, ANSWER_TYPE)
                ANSWER_HEADER.pack_into(answer, HEADER.size, work.request, status)
                self._encrypt_and_send(answer[: _ANSWER_START + length])
            if self._machine.is_spent:
                self.close("the session's key is used up: connect again")
        self._machine.close()
        self._carrier.sendall(self._machine.data_to_send())
        self._carrier.end_writing()

    def _encrypt_and_send(self, plaintext: memoryview) -> None:
        record_bytes = None if self.pacer is None else self.pacer.record_bytes
        step = record_bytes or MAX_PLAINTEXT
        for start in range(0, len(plaintext), step):
            self._machine.write(plaintext[start : start + step])
            data = self._machine.data_to_send()
            if self.pacer is not None and record_bytes:
                self.pacer.wait(len(data))
            self._carrier.sendall(data)
            self.bytes_out += len(data)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _break(self, why: str) -> None:
        """End the link at once; the first reason given stays."""
        with self._state_lock:
            self._why = self._why or why
            self._carrier.shut()
            if not self._is_started:
                self._carrier.close()
        self._outflow.abort()

    def _leave(self) -> None:
        """The last thread to go gives the carrier back: closed earlier, its number could be another connection's."""
        with self._state_lock:
            self._threads_left -= 1
            if self._threads_left:
                return
            if self._flush_timer is not None:
                self._flush_timer.cancel()
            self._carrier.close()
