# SPDX-License-Identifier: AGPL-3.0-or-later
"""What two devices say about their link, themselves and an invitation; none of it is about a folder both share yet.

Every message checks itself when it is made, so that what cannot be said cannot be built, whoever builds it.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Self

from harp.identity.device import DEVICE_ID_BYTES, DeviceId
from harp.sync.model import ID_BYTES, FolderId, Role
from harp.sync.protocol import wire
from harp.sync.protocol.batchform import check_written

PROTOCOL_VERSION = 1
"""What this code speaks best; it also speaks the version before, as soon as there is one."""
OLDEST_VERSION = 1

SECRET_BYTES = 32
MAX_EPOCHS = 64
MAX_PROOF_BATCHES = 256
MAX_DEVICES_NAMED = 256
MAX_ADDRESSES = 16
MAX_VERSION = 255
MAX_CLOSE_CODE = 255


class CloseCode(IntEnum):
    """Why a link ends. A number that is not known here is only shown."""

    NORMAL = 0
    PROTOCOL = 1
    """You broke the protocol."""
    VERSION = 2
    """There is no version that both speak."""
    DUPLICATE = 3
    """There is another link between us, and that one stays."""
    TICKET_BAD = 4
    TICKET_USED = 5
    TICKET_EXPIRED = 6
    NOT_MEMBER = 7
    """You are in no folder of mine."""
    OVERLOADED = 8
    """You ask for more than I can keep in mind; come back later."""
    SHUTDOWN = 9
    FORGOTTEN = 10
    """A person closed this link for good."""
    TIMEOUT = 11
    STORAGE = 12
    """My disk or ledger fails; come back later."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of both; its fields stay where they are in every version, further ones come after them."""

    TYPE: ClassVar[int] = 1
    min_version: int
    max_version: int
    software: str
    device_name: str
    listen_port: int
    """Where this device can be dialled; 0: nowhere."""
    now_ms: int
    """The wall clock, to show how far two clocks are apart; nothing is decided by it."""

    def __post_init__(self) -> None:
        wire.check_uint(self.min_version, "the oldest version", MAX_VERSION)
        wire.check_uint(self.max_version, "the newest version", MAX_VERSION)
        wire.check(1 <= self.min_version <= self.max_version, "the range of versions")
        wire.check_text(self.software, "the software's name")
        wire.check_text(self.device_name, "the device's name")
        wire.check_uint(self.listen_port, "the listening port", 65535)
        wire.check_uint(self.now_ms, "the clock")

    def fields(self) -> tuple[object, ...]:
        return (self.min_version, self.max_version, self.software, self.device_name, self.listen_port, self.now_ms)

    @classmethod
    def of(cls, *fields: Any) -> Self:
        return cls(*fields)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where members of folders that both are in were reached; only about those."""

    TYPE: ClassVar[int] = 12
    known: tuple[tuple[DeviceId, tuple[str, ...]], ...]
    """``host:port``, an IPv6 host in brackets."""

    def __post_init__(self) -> None:
        wire.check_count(self.known, "the devices with addresses", MAX_DEVICES_NAMED)
        for device, addresses in self.known:
            wire.check_bytes(device, "a device", DEVICE_ID_BYTES)
            wire.check_count(addresses, "a device's addresses", MAX_ADDRESSES)
            for address in addresses:
                wire.check_text(address, "an address")

    def fields(self) -> tuple[object, ...]:
        return (self.known,)

    @classmethod
    def of(cls, known: Any) -> Self:
        return cls(known)


@dataclass(frozen=True, slots=True)
class Ping:
    TYPE: ClassVar[int] = 13
    nonce: int

    def __post_init__(self) -> None:
        wire.check_uint(self.nonce, "a ping's nonce")

    def fields(self) -> tuple[object, ...]:
        return (self.nonce,)

    @classmethod
    def of(cls, nonce: Any) -> Self:
        return cls(nonce)


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a Ping, with its nonce."""

    TYPE: ClassVar[int] = 14
    nonce: int

    def __post_init__(self) -> None:
        wire.check_uint(self.nonce, "a pong's nonce")

    def fields(self) -> tuple[object, ...]:
        return (self.nonce,)

    @classmethod
    def of(cls, nonce: Any) -> Self:
        return cls(nonce)


@dataclass(frozen=True, slots=True)
class Close:
    """The last message; ``code`` is a :class:`CloseCode`, or one of a later version."""

    TYPE: ClassVar[int] = 15
    code: int
    text: str = ""
    """For people; it names no folder and no path."""

    def __post_init__(self) -> None:
        wire.check_uint(int(self.code), "a close code", MAX_CLOSE_CODE)
        wire.check_text(self.text, "the reason of a close")

    def fields(self) -> tuple[object, ...]:
        return (int(self.code), self.text)

    @classmethod
    def of(cls, code: Any, text: Any) -> Self:
        wire.check_uint(code, "a close code", MAX_CLOSE_CODE)
        return cls(code, text)


@dataclass(frozen=True, slots=True)
class Join:
    """Redeem this ticket for me."""

    TYPE: ClassVar[int] = 16
    secret: bytes = field(repr=False)
    device_name: str

    def __post_init__(self) -> None:
        wire.check_bytes(self.secret, "a ticket's secret", SECRET_BYTES)
        wire.check_text(self.device_name, "the device's name")

    def fields(self) -> tuple[object, ...]:
        return (self.secret, self.device_name)

    @classmethod
    def of(cls, secret: Any, device_name: Any) -> Self:
        return cls(secret, device_name)


@dataclass(frozen=True, slots=True)
class Welcome:
    """You are a member now: the folder's secrets, and the proof that you are."""

    TYPE: ClassVar[int] = 17
    folder: FolderId
    name: str
    role: Role
    content: bytes = field(repr=False)
    epochs: tuple[bytes, ...] = field(repr=False)
    """The knocking secrets, the newest last."""
    proof: tuple[bytes, ...] = field(repr=False)
    """Batches in their written form: the grants from the founder to you, causes first."""

    def __post_init__(self) -> None:
        wire.check_bytes(self.folder, "a folder id", ID_BYTES)
        wire.check_text(self.name, "a folder's name")
        wire.check(type(self.role) is Role, "a role")
        wire.check_bytes(self.content, "a content secret", SECRET_BYTES)
        wire.check_count(self.epochs, "the epoch secrets", MAX_EPOCHS)
        for epoch in self.epochs:
            wire.check_bytes(epoch, "an epoch secret", SECRET_BYTES)
        check_written(self.proof, MAX_PROOF_BATCHES)

    def fields(self) -> tuple[object, ...]:
        return (self.folder, self.name, int(self.role), self.content, self.epochs, self.proof)

    @classmethod
    def of(cls, folder: Any, name: Any, role: Any, content: Any, epochs: Any, proof: Any) -> Self:
        wire.check_uint(role, "a role")
        return cls(folder, name, Role(role), content, epochs, proof)
