# SPDX-License-Identifier: AGPL-3.0-or-later
"""ExApps that their owner starts by hand: calls are checked as the contract says, then nothing can be started."""

import asyncio
import contextlib
from typing import Annotated, Literal

import msgspec

from harp.proxy.deploy.port import Outcome

VERBS = frozenset(
    {
        "exists",
        "create",
        "start",
        "stop",
        "wait_for_start",
        "remove",
        "image_remove",
        "install_certificates",
    }
)
K8S_VERBS = (VERBS - {"image_remove"}) | {"expose"}
CONNECT_S = 4.0


class _Named(msgspec.Struct):
    name: str
    instance_id: str = ""
    role_suffix: str = ""


class _Mount(msgspec.Struct):
    source: str
    target: str
    mode: str = "rw"


class _Create(_Named):
    image_id: str | None = None
    image: str | None = None
    network_mode: str = "bridge"
    environment_variables: list[str] = []
    restart_policy: str = "unless-stopped"
    compute_device: Literal["cpu", "cuda", "rocm"] = "cpu"
    mount_points: list[_Mount] = []

    def __post_init__(self) -> None:
        if self.image_id is None and self.image is None:
            raise ValueError("image_id is required")


class _Remove(_Named):
    remove_data: bool = False


class _ImageRemove(msgspec.Struct):
    image_ref: Annotated[str, msgspec.Meta(min_length=1)]


class _Certificates(_Named):
    system_certs_bundle: str | None = None
    install_frp_certs: bool = True


_BODIES: dict[str, type[msgspec.Struct]] = {
    "create": _Create,
    "remove": _Remove,
    "image_remove": _ImageRemove,
    "install_certificates": _Certificates,
}


class NoDocker:
    """Docker calls where Harp manages no engine: wrong ones are told so, right ones that there is none (109, 110)."""

    def is_available(self) -> bool:
        return False

    async def call(self, verb: str, engine_port: str | None, body: bytes) -> Outcome:
        if engine_port is None:
            return Outcome(400, "Missing 'docker-engine-port' header.")
        if not engine_port.isascii() or not engine_port.isdecimal() or not 1 <= int(engine_port[:6]) <= 65_535:
            return Outcome(400, f"Invalid 'docker-engine-port' header value: {engine_port[:32]}")
        try:
            msgspec.json.decode(body)
        except msgspec.DecodeError:
            return Outcome(400, "Invalid JSON body")
        try:
            msgspec.json.decode(body, type=_BODIES.get(verb, _Named))
        except msgspec.ValidationError as error:
            return Outcome(400, f"Payload validation error: {error}")
        if not await _answers(int(engine_port)):
            return Outcome(503, f"Could not connect to Docker Engine on port {engine_port}")
        return Outcome(503, "Docker is not managed by this Harp: start the app by hand (manual-install).")


class NoKubernetes:
    """Kubernetes calls, disabled: ``install_certificates`` has nothing to do anyway (contract, 3.7)."""

    def is_available(self) -> bool:
        return False

    async def call(self, verb: str, engine_port: str | None, body: bytes) -> Outcome:
        if verb == "install_certificates":
            try:
                msgspec.json.decode(body, type=_Certificates)
            except msgspec.DecodeError:
                return Outcome(400, "Invalid JSON body")
            return Outcome(204)
        return Outcome(503, "Kubernetes backend is disabled in HaRP.")


async def _answers(port: int) -> bool:
    """Whether anything listens on this port of the loopback interface."""
    with contextlib.suppress(OSError, TimeoutError):
        _reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), CONNECT_S)
        writer.close()
        return True
    return False
