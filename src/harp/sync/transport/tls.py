# SPDX-License-Identifier: AGPL-3.0-or-later
"""TLS 1.3 (RFC 8446) between two device keys, as a machine on memory BIOs that does no I/O.

Both ends show a self-signed Ed25519 certificate and are accepted by its public key alone: no authority, no host name,
no dates. Python's ``ssl`` has no verify callback and so cannot accept a client by its key; pyOpenSSL has one. Because
the machine touches no socket, the same session can travel in anything that carries bytes both ways.
"""

import contextlib
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from OpenSSL import SSL, crypto

from harp.base.errors import LinkError, LocalProtocolError, TrustError
from harp.identity.device import DeviceId, DeviceKey
from harp.sync.transport.records import (
    EXPORTED_BYTES,
    EXPORTER_LABEL,
    MAX_PLAINTEXT,
    OVERHEAD,
    Bytes,
    Opener,
    Sealer,
    directions,
    reserved,
)
from harp.sync.transport.suites import AEADS, prefers_aes, suites

ALPN = b"harp/1"

_TLS_HEADER_BYTES = 5
_FLIGHT_BYTES = 16 * 1024

_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "harp")])
_NOT_BEFORE = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_NOT_AFTER = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device shows of itself in TLS: its key and a certificate that says nothing else."""

    device: DeviceId
    _client: SSL.Context = field(repr=False)
    _server: SSL.Context = field(repr=False)

    @classmethod
    def of(cls, key: DeviceKey) -> "Identity":
        """The identity of ``key``; the certificate is made in memory, the same one each time."""
        private = Ed25519PrivateKey.from_private_bytes(key.seed)
        certificate = _certificate(private)
        aes_first = prefers_aes()
        client, server = (_context(private, certificate, aes_first=aes_first) for _ in range(2))
        client.set_alpn_protos([ALPN])
        server.set_alpn_select_callback(lambda _, offered: ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS)
        if not aes_first:
            # The client's order counts, unless the server is the one without AES instructions.
            server.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        return cls(key.device_id, client, server)

    def connection(self, *, is_client: bool) -> SSL.Connection:
        """A new TLS session without a socket."""
        connection = SSL.Connection(self._client if is_client else self._server, None)
        if is_client:
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        return connection


class TlsMachine:
    """One session: a handshake of TLS, then sealed records under keys of its exporter.

    Before :meth:`handshake` is done: ciphertext in by :meth:`receive`, by one thread. After that one thread may put it
    into :meth:`space` and read, and another one write; what is to be sent is :meth:`data_to_send` all along.
    ``accepts`` says of a public key whether the other end may have it; it is asked during the handshake, before
    anything of ours is sent to a server, and before a client's finish is believed.
    """

    def __init__(self, identity: Identity, *, is_client: bool, accepts: Callable[[DeviceId], bool]) -> None:
        self._connection = identity.connection(is_client=is_client)
        self._connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._is_accepted)
        self._accepts = accepts
        self._is_client = is_client
        self._refused = ""
        self._peer: DeviceId | None = None
        self._received = bytearray()
        self._awaited_bytes = _TLS_HEADER_BYTES
        self._is_in_header = True
        self._unsent = memoryview(b"")
        self._unsent_bytes = 0

    @property
    def peer(self) -> DeviceId:
        """Whose key the other end proved to have. Raises :class:`LocalProtocolError` before the handshake is done."""
        if self._peer is None:
            raise LocalProtocolError("the peer is not known before the handshake is done")
        return self._peer

    # --- the handshake ------------------------------------------------------------------------------------------------

    def receive(self, data: Bytes) -> None:
        """Take what came from the peer, all of it, while the handshake goes on."""
        self._received += data

    def handshake(self) -> bool:
        """Go as far as what was received allows; True once both ends are known. Send what is to be sent in any case.

        Raises :class:`TrustError` where the other end's key is not accepted, :class:`LinkError` for all else that ends
        a handshake.
        """
        if self._peer is not None:
            return True
        try:
            while not self._has_shaken():
                if not self._feed():
                    return False
        except SSL.Error as error:
            if self._refused:
                raise TrustError(self._refused) from error
            raise LinkError("the secured session could not be made") from error
        peer = self._proven_peer()
        self._make_records()
        self._peer = peer
        return True

    def _has_shaken(self) -> bool:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._take_flight()
            return False
        except SSL.Error:
            self._take_flight()  # an alert
            raise
        if self._is_client:
            self._take_flight()
        # All that a server has to say behind a handshake is tickets, whatever the options: they stay here.
        return True

    def _take_flight(self) -> None:
        """What OpenSSL wants to be sent."""
        with contextlib.suppress(SSL.WantReadError):
            while flight := self._connection.bio_read(_FLIGHT_BYTES):
                self._room_for(len(flight))[: len(flight)] = flight
                self._unsent_bytes += len(flight)

    def _feed(self) -> bool:
        """Gives OpenSSL one header or one body of TLS: what follows the handshake is none of its business."""
        if len(self._received) < self._awaited_bytes:
            return False
        piece = bytes(self._received[: self._awaited_bytes])
        del self._received[: self._awaited_bytes]
        self._connection.bio_write(piece)
        self._is_in_header = not self._is_in_header
        self._awaited_bytes = _TLS_HEADER_BYTES if self._is_in_header else int.from_bytes(piece[3:5], "big")
        return True

    def _make_records(self) -> None:
        aead = AEADS[self._connection.get_cipher_name() or ""]
        of_client, of_server = directions(self._connection.export_keying_material(EXPORTER_LABEL, EXPORTED_BYTES))
        ours, theirs = (of_client, of_server) if self._is_client else (of_server, of_client)
        self._sealer, self._opener = Sealer(aead, ours), Opener(aead, theirs)
        self._opener.space()[: len(self._received)] = self._received
        self._opener.filled(len(self._received))
        self._received.clear()

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """The peer has said that nothing more will come."""
        return self._opener.has_ended

    def space(self) -> memoryview:
        """Where to put ciphertext that comes, once :meth:`read_into` gave 0."""
        return self._opener.space()

    def filled(self, length: int) -> None:
        """So much ciphertext was put into :meth:`space`."""
        self._opener.filled(length)

    def read_into(self, buffer: memoryview) -> int:
        """As :meth:`harp.sync.transport.records.Opener.open_into`."""
        return self._opener.open_into(buffer)

    # --- writing ------------------------------------------------------------------------------------------------------

    @property
    def is_spent(self) -> bool:
        """As :attr:`harp.sync.transport.records.Sealer.is_spent`."""
        return self._sealer.is_spent

    def write(self, plaintext: Bytes) -> None:
        """Encrypt all of ``plaintext``."""
        view = memoryview(plaintext)
        for start in range(0, len(view), MAX_PLAINTEXT):
            self._seal(view[start : start + MAX_PLAINTEXT])

    def close(self) -> None:
        """Say to the peer that nothing more will come, as the last thing; nothing where no session was made."""
        if self._peer is not None:
            self._seal(b"")

    def data_to_send(self) -> memoryview:
        """All that is to go to the peer now, empty if there is nothing; valid until something is written again."""
        unsent, self._unsent_bytes = self._unsent_bytes, 0
        return self._unsent[:unsent]

    def _seal(self, plaintext: Bytes) -> None:
        self._unsent_bytes += self._sealer.seal_into(self._room_for(len(plaintext) + OVERHEAD), plaintext)

    def _room_for(self, size: int) -> memoryview:
        """Behind what is unsent; a session that once sent much keeps the room for it."""
        needed = self._unsent_bytes + size
        if needed > len(self._unsent):
            room = reserved(max(needed, 2 * len(self._unsent)))
            room[: self._unsent_bytes] = self._unsent[: self._unsent_bytes]
            self._unsent = room
        return self._unsent[self._unsent_bytes :]

    # --- whom it is with ----------------------------------------------------------------------------------------------

    def _is_accepted(self, _: SSL.Connection, certificate: crypto.X509, __: int, depth: int, ___: int) -> bool:
        """OpenSSL's verify callback: whatever it finds wrong with the certificate, only the key counts."""
        self._refused = "the other end showed no device key"
        if depth != 0:
            return False
        device = _device_of(certificate)
        if device is None:
            return False
        self._refused = "the other end is not a device that is expected here"
        if not self._accepts(device):
            return False
        self._refused = ""
        return True

    def _proven_peer(self) -> DeviceId:
        if self._connection.get_alpn_proto_negotiated() != ALPN:
            raise LinkError("the other end does not speak Harp's protocol")
        certificate = self._connection.get_peer_certificate()
        device = None if certificate is None else _device_of(certificate)
        if device is None or not self._accepts(device):
            raise TrustError("the other end is not a device that is expected here")
        return device


def _certificate(private: Ed25519PrivateKey) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(_NAME).issuer_name(_NAME).serial_number(1)
    builder = builder.public_key(private.public_key()).not_valid_before(_NOT_BEFORE).not_valid_after(_NOT_AFTER)
    return builder.sign(private, None)


def _context(private: Ed25519PrivateKey, certificate: x509.Certificate, *, aes_first: bool) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(suites(aes_first=aes_first))
    # A resumed session would skip the verify callback: no tickets, no cache.
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.use_certificate(certificate)
    context.use_privatekey(private)
    return context


def _device_of(shown: crypto.X509) -> DeviceId | None:
    """The device whose self-signed certificate this is, else None."""
    try:
        certificate = shown.to_cryptography()
        public = certificate.public_key()
        if not isinstance(public, Ed25519PublicKey):
            return None
        public.verify(certificate.signature, certificate.tbs_certificate_bytes)
    except (InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion, ValueError, TypeError):
        return None
    return DeviceId(public.public_bytes_raw())
