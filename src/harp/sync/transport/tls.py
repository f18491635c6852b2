# SPDX-License-Identifier: AGPL-3.0-or-later
"""TLS 1.3 (RFC 8446) between two device keys, as a machine on memory BIOs that does no I/O.

Both ends show a self-signed Ed25519 certificate and are accepted by its public key alone: no authority, no host name,
no dates. Python's ``ssl`` has no verify callback and so cannot accept a client by its key; pyOpenSSL has one. Because
the machine touches no socket, the same session can travel in anything that carries bytes both ways.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from OpenSSL import SSL, crypto

from harp.base.errors import LinkError, LocalProtocolError, TrustError
from harp.identity.device import DeviceId, DeviceKey
from harp.sync.transport.records import Bytes, Records, reserved
from harp.sync.transport.suites import prefers_aes, suites

ALPN = b"harp/1"

_RECORD_BYTES = 16 * 1024
_RECORD_OVERHEAD = 5 + 1 + 16
"""Header, inner type and tag of one record (RFC 8446, 5.2)."""
_SLACK_BYTES = 8 * 1024
"""Room for a handshake flight, an alert or a key update beside the records that were counted."""
_MAX_RECORDS = 2**24
"""AES-GCM may protect 2^24.5 full records under one key (RFC 8446, 5.5); pyOpenSSL cannot ask for a new one."""
_PARTIAL_WRITE = 0x1
"""SSL_MODE_ENABLE_PARTIAL_WRITE: pyOpenSSL sets it, and a write would then end after each record."""

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
    """One session: ciphertext in by :meth:`receive`, out by :meth:`data_to_send`; plaintext by read and write.

    Not thread-safe: an OpenSSL session is to be used by one thread at a time. ``accepts`` says of a public key whether
    the other end may have it; it is asked during the handshake, before anything of ours is sent to a server, and before
    a client's finish is believed.
    """

    def __init__(self, identity: Identity, *, is_client: bool, accepts: Callable[[DeviceId], bool]) -> None:
        self._connection = identity.connection(is_client=is_client)
        self._connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._is_accepted)
        self._accepts = accepts
        self._refused = ""
        self._peer: DeviceId | None = None
        self._flow = Records(self._connection)
        self._ciphertext = memoryview(b"")
        self._unsent_bytes = 0
        self._records = 0

    @property
    def peer(self) -> DeviceId:
        """Whose key the other end proved to have. Raises :class:`LocalProtocolError` before the handshake is done."""
        if self._peer is None:
            raise LocalProtocolError("the peer is not known before the handshake is done")
        return self._peer

    @property
    def has_ended(self) -> bool:
        """The peer has said that nothing more will come (close_notify)."""
        return self._flow.has_ended

    @property
    def is_spent(self) -> bool:
        """Whether so much was sent under this session's key that a new session has to take over."""
        return self._records >= _MAX_RECORDS

    def handshake(self) -> bool:
        """Go as far as what was received allows; True once both ends are known. Send what is to be sent in any case.

        Raises :class:`TrustError` where the other end's key is not accepted, :class:`LinkError` for all else that ends
        a handshake.
        """
        if self._peer is not None:
            return True
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            if self._refused:
                raise TrustError(self._refused) from error
            raise LinkError("the secured session could not be made") from error
        self._peer = self._proven_peer()
        return True

    def receive(self, data: Bytes) -> None:
        """Take ciphertext that came from the peer, all of it."""
        self._flow.receive(data)

    def read_into(self, buffer: memoryview) -> int:
        """Decrypt what was received into ``buffer`` until it is full or nothing is left; the number of bytes.

        0 for a non-empty buffer means: receive more, unless :attr:`has_ended`. Raises :class:`LinkError` for what was
        altered on the way.
        """
        try:
            return self._flow.read_into(buffer)
        except SSL.Error as error:
            raise LinkError("the secured session broke") from error

    def write(self, plaintext: Bytes) -> None:
        """Encrypt all of ``plaintext``. Raises :class:`LinkError` where the session has ended."""
        size = len(plaintext)
        if not size:
            return
        try:
            self._flow.write(plaintext)
        except SSL.Error as error:
            raise LinkError("the secured session broke") from error
        records = -(-size // _RECORD_BYTES)
        self._records += records
        self._unsent_bytes += size + records * _RECORD_OVERHEAD

    def data_to_send(self) -> memoryview:
        """All ciphertext that is to go to the peer now, empty if there is none; valid until this is called again."""
        self._make_room(self._unsent_bytes + _SLACK_BYTES)
        self._unsent_bytes = filled = 0
        while drained := self._flow.drain_into(self._ciphertext[filled:]):
            filled += drained
            self._make_room(filled + 1)
        return self._ciphertext[:filled]

    def _make_room(self, size: int) -> None:
        """What is in the buffer stays; a session that once sent much keeps the room for it."""
        if size > len(self._ciphertext):
            room = reserved(max(size, 2 * len(self._ciphertext)))
            room[: len(self._ciphertext)] = self._ciphertext
            self._ciphertext = room

    def close(self) -> None:
        """Say to the peer that nothing more will come; the alert is then among the data to send."""
        try:
            self._connection.shutdown()
        except SSL.Error:
            # Before the end of a handshake, or after a fatal alert, there is nobody to say it to.
            return

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
    context.clear_mode(_PARTIAL_WRITE)
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
