# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tickets: how one device invites another, once, and what the inviter keeps of that. Pure.

A ticket is a line that a person carries from one device to the other: ``harp1`` and then base32 (RFC 4648, section 6)
without padding, in lower case, of a length (two bytes, big endian), that many bytes of CBOR, and four check bytes. The
inviter never stores the secret: it keeps a hash, and the key under which the newcomer knocks.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from enum import Enum

import cbor2

from harp.base.errors import TrustError
from harp.identity.device import DEVICE_ID_BYTES, DeviceId

PREFIX = "harp1"
SECRET_BYTES = 32
FOLDER_ID_BYTES = 32
MAX_NAME_BYTES = 255
MAX_ADDRESSES = 16
MAX_ADDRESS_BYTES = 262
"""A host name of 255 bytes, a colon, a port."""
MAX_TICKET_CHARACTERS = 16 * 1024

_LENGTH_BYTES = 2
_CHECK_BYTES = 4
_ROLES = range(1, 4)
_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_MAX_TIME = 1 << 53
_HINT = "ask for it again: `harp invite NAME` on the other device prints one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """An invitation to a folder. Whoever holds it first is in, so ``secret`` is never shown by ``repr``.

    ``folder`` is the folder's id and ``role`` the value of a ``harp.sync.model.Role`` (read-only, read-write or owner);
    ``addresses`` are ``host:port`` or ``[v6]:port``, the likeliest first; ``expires_at`` is in seconds since 1970.
    """

    inviter: DeviceId
    folder: bytes
    name: str
    addresses: tuple[str, ...]
    secret: bytes = field(repr=False)
    role: int
    expires_at: int

    def __post_init__(self) -> None:
        wrong = _fault(self)
        if wrong:
            raise TrustError(f"this ticket cannot be: {wrong}", hint=_HINT)

    def text(self) -> str:
        """The line that :func:`parse` reads."""
        body = cbor2.dumps(
            [self.inviter, self.folder, self.name, list(self.addresses), self.secret, self.role, self.expires_at]
        )
        framed = len(body).to_bytes(_LENGTH_BYTES, "big") + body
        return PREFIX + _encoded(framed + _check(framed))


def parse(written: str) -> Ticket:
    """The ticket that :meth:`Ticket.text` wrote, in any case, with any blanks, line breaks or hyphens in it.

    Raises :class:`TrustError`, which says whether the text is no ticket, cut short, mistyped, or of a newer kind.
    """
    line = "".join(written[: 2 * MAX_TICKET_CHARACTERS].split()).replace("-", "").lower()
    if not line.startswith(PREFIX):
        raise TrustError("this is not a ticket", hint=f"a ticket begins with {PREFIX}; {_HINT}")
    if len(line) > MAX_TICKET_CHARACTERS:
        raise TrustError("this ticket is too long to be one", hint=_HINT)
    framed = _decoded(line.removeprefix(PREFIX))
    size = int.from_bytes(framed[:_LENGTH_BYTES], "big")
    expected = _LENGTH_BYTES + size + _CHECK_BYTES
    if len(framed) < expected:
        raise TrustError("this ticket is cut short, or mistyped at its beginning", hint="copy the whole line")
    if len(framed) > expected:
        raise TrustError("this ticket has something added to it, or is mistyped", hint="copy only the line itself")
    whole, check = framed[:-_CHECK_BYTES], framed[-_CHECK_BYTES:]
    if not hmac.compare_digest(_check(whole), check):
        raise TrustError("this ticket is mistyped: its check digits do not agree", hint="copy it rather than type it")
    return _read(whole[_LENGTH_BYTES:])


def knock_key(secret: bytes) -> bytes:
    """32 bytes: under this key the newcomer's first datagram is recognised; the inviter stores it until redeemed."""
    return hashlib.sha3_256(b"harp ticket knock v1" + secret).digest()


def secret_hash(secret: bytes) -> bytes:
    """32 bytes: what the inviter stores in place of the secret; it gives neither the secret nor the knock's key."""
    return hashlib.sha3_256(b"harp ticket secret v1" + secret).digest()


@dataclass(frozen=True, slots=True)
class Issued:
    """What the inviter keeps of a ticket. ``redeemed_by`` is set in the transaction that writes the grant."""

    secret_hash: bytes = field(repr=False)
    expires_at: int
    redeemed_by: DeviceId | None = None


class Verdict(Enum):
    """What the inviter says of a secret that is presented to it."""

    GOOD = "good"
    UNKNOWN = "no ticket of this device has this secret"
    EXPIRED = "the ticket has expired"
    USED = "the ticket has been used by another device"


def verdict(issued: Issued | None, secret: bytes, device: DeviceId, *, now: float) -> Verdict:
    """Whether ``device`` may redeem ``issued`` with ``secret``; constant time in the secret.

    The device that has redeemed it may come again, even late: its first answer may have been lost on the way.
    """
    if issued is None or not hmac.compare_digest(issued.secret_hash, secret_hash(secret)):
        return Verdict.UNKNOWN
    if issued.redeemed_by is not None:
        return Verdict.GOOD if issued.redeemed_by == device else Verdict.USED
    return Verdict.GOOD if now < issued.expires_at else Verdict.EXPIRED


def is_redeemable(issued: Issued | None, secret: bytes, device: DeviceId, *, now: float) -> bool:
    """Whether :func:`verdict` is good."""
    return verdict(issued, secret, device, now=now) is Verdict.GOOD


def _decoded(body: str) -> bytes:
    try:
        framed = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    except (binascii.Error, ValueError) as error:
        # Which lengths are possible follows from base32: 1, 3 and 6 characters over a multiple of eight are not.
        if len(body) % 8 in (1, 3, 6) and _ALPHABET.issuperset(body):
            raise TrustError("this ticket is cut short", hint="copy the whole line") from error
        raise TrustError("this ticket is mistyped: it holds a character that tickets never have", hint=_HINT) from error
    # The last character has bits that belong to no byte: only one way to write them is right.
    if _encoded(framed) != body:
        raise TrustError("this ticket is cut short, or mistyped at its end", hint="copy the whole line")
    return framed


def _encoded(framed: bytes) -> str:
    return base64.b32encode(framed).decode().rstrip("=").lower()


def _read(body: bytes) -> Ticket:
    try:
        fields = cbor2.loads(body, allow_indefinite=False, immutable=True, max_depth=2)
        inviter, folder, name, addresses, secret, role, expires_at = fields
    except (cbor2.CBORDecodeError, ValueError, TypeError) as error:
        raise TrustError("this ticket is of a kind unknown here", hint="bring both devices up to date") from error
    return Ticket(
        inviter=inviter,
        folder=folder,
        name=name,
        addresses=addresses,
        secret=secret,
        role=role,
        expires_at=expires_at,
    )


def _fault(ticket: Ticket) -> str:
    """What is wrong with the fields, which may come from a stranger's CBOR and so be of any type."""
    checks = (
        (_is_bytes(ticket.inviter, DEVICE_ID_BYTES), "its inviter is no device"),
        (_is_bytes(ticket.folder, FOLDER_ID_BYTES), "its folder is none"),
        (_is_text(ticket.name, MAX_NAME_BYTES), "its folder has no name"),
        (_are_addresses(ticket.addresses), "its addresses are none"),
        (_is_bytes(ticket.secret, SECRET_BYTES), "its secret has a wrong length"),
        (type(ticket.role) is int and ticket.role in _ROLES, "its role is unknown"),
        (type(ticket.expires_at) is int and 0 <= ticket.expires_at < _MAX_TIME, "its end lies outside of time"),
    )
    return next((wrong for holds, wrong in checks if not holds), "")


def _is_bytes(value: object, length: int) -> bool:
    return isinstance(value, bytes) and len(value) == length


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value.encode("utf-8", "surrogatepass")) <= most


def _are_addresses(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) > MAX_ADDRESSES:
        return False
    return all(_is_text(address, MAX_ADDRESS_BYTES) for address in value)


def _check(framed: bytes) -> bytes:
    return hashlib.sha3_256(b"harp ticket check v1" + framed).digest()[:_CHECK_BYTES]
