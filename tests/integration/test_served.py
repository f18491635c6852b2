# SPDX-License-Identifier: AGPL-3.0-or-later
"""The stand-in for a server leaves nothing behind. Holds tests.fakes.served."""

import gc
import socket
import threading

from aiohttp import web

from tests.fakes.served import Served


def test_a_client_that_does_not_read_is_hung_up_on_when_the_server_stops() -> None:
    is_waiting = threading.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(bytes(1 << 16))
            is_waiting.set()
        return response

    served = Served(answer).start()
    with socket.create_connection((served.host, served.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert is_waiting.wait(10)
        served.stop()
        del served
        # What is not closed is found now, and fails the test.
        gc.collect()
        client.settimeout(10)
        received = 0
        try:
            while block := client.recv(1 << 20):
                received += len(block)
        except ConnectionResetError:
            pass
        assert 0 < received < 1000 << 16
