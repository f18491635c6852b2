# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two TLS machines talk through nothing but bytes: who is let in, what is refused, what arrives."""

import contextlib
import datetime as dt
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from OpenSSL import SSL

from harp.base.errors import HarpError, LinkError, LocalProtocolError, TrustError
from harp.identity.device import DeviceId, DeviceKey
from harp.sync.transport import tls
from harp.sync.transport.records import Bytes
from harp.sync.transport.suites import AEADS, AES, CHACHA, prefers_aes, suites
from harp.sync.transport.tls import Identity, TlsMachine

ALICE, BOB, EVE = (DeviceKey.from_seed(letter * 32) for letter in (b"a", b"b", b"e"))


def only(key: DeviceKey) -> Callable[[DeviceId], bool]:
    return lambda device: device == key.device_id


def pair(
    client: DeviceKey = ALICE, server: DeviceKey = BOB, *, expects: DeviceKey = BOB, admits: DeviceKey = ALICE
) -> tuple[TlsMachine, TlsMachine]:
    return (
        TlsMachine(Identity.of(client), is_client=True, accepts=only(expects)),
        TlsMachine(Identity.of(server), is_client=False, accepts=only(admits)),
    )


def shaken(client: TlsMachine, server: TlsMachine, *, step: int = 1 << 20) -> None:
    """Carry the handshake's bytes, ``step`` at a time, until both are done; raises what the first to refuse raises."""
    for _ in range(10):
        for one, other in ((client, server), (server, client)):
            try:
                one.handshake()
            finally:
                data = one.data_to_send()
                for start in range(0, len(data), step):
                    other.receive(data[start : start + step])
        if client.handshake() and server.handshake():
            return
    raise AssertionError("no end of the handshake")


def heard(machine: TlsMachine, ciphertext: Bytes) -> bytes:
    """What a made session reads of bytes that come to it."""
    buffer = memoryview(bytearray(1 << 20))
    plaintext = b""
    rest = memoryview(ciphertext)
    while True:
        piece = rest[: len(machine.space())]
        machine.space()[: len(piece)] = piece
        machine.filled(len(piece))
        rest = rest[len(piece) :]
        while length := machine.read_into(buffer):
            plaintext += buffer[:length]
        if not rest:
            return plaintext


def test_both_ends_know_each_other_afterwards() -> None:
    client, server = pair()
    shaken(client, server)
    assert client.peer == BOB.device_id
    assert server.peer == ALICE.device_id


def test_the_handshake_may_come_byte_by_byte() -> None:
    client, server = pair()
    shaken(client, server, step=1)
    assert (client.peer, server.peer) == (BOB.device_id, ALICE.device_id)


def test_before_the_handshake_there_is_no_peer() -> None:
    client, _ = pair()
    with pytest.raises(LocalProtocolError):
        _ = client.peer


def test_a_client_refuses_a_server_with_another_key() -> None:
    client, server = pair(server=EVE)
    with pytest.raises(TrustError):
        shaken(client, server)
    server.receive(client.data_to_send())
    with pytest.raises(LinkError):
        server.handshake()


def test_a_server_refuses_a_client_with_another_key() -> None:
    client, server = pair(client=EVE)
    with pytest.raises(TrustError):
        shaken(client, server)
    with pytest.raises(LocalProtocolError):
        _ = server.peer


def test_the_refused_client_learns_it_when_it_reads() -> None:
    client, server = pair(client=EVE)
    for one, other in ((client, server), (server, client)):
        one.handshake()
        other.receive(one.data_to_send())
    assert client.handshake()
    server.receive(client.data_to_send())
    with pytest.raises(TrustError):
        server.handshake()
    alert = server.data_to_send()
    assert alert
    with pytest.raises(LinkError):
        heard(client, alert)


def without_certificate() -> SSL.Connection:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_alpn_protos([tls.ALPN])
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    return connection


def converse(connection: SSL.Connection, server: TlsMachine) -> None:
    for _ in range(5):
        with contextlib.suppress(SSL.WantReadError):
            connection.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            server.receive(connection.bio_read(1 << 16))
        server.handshake()
        if data := server.data_to_send():
            connection.bio_write(data)


def test_a_client_without_a_certificate_is_refused() -> None:
    _, server = pair()
    with pytest.raises(HarpError):
        converse(without_certificate(), server)


def foreign_client(private: Ed25519PrivateKey, certificate: x509.Certificate, *, version: int) -> SSL.Connection:
    """A client that has a key and a certificate, made by other means than ours; it offers no ALPN."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.use_certificate(certificate)
    context.use_privatekey(private)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    return connection


def certificate_for(key: DeviceKey, *, signed_by: DeviceKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "harp")])
    year = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.not_valid_before(year).not_valid_after(year + dt.timedelta(days=1))
    return builder.public_key(private(key).public_key()).sign(private(signed_by), None)


def private(key: DeviceKey) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(key.seed)


def foreign_alice(*, signed_by: DeviceKey = ALICE, version: int = SSL.TLS1_3_VERSION) -> SSL.Connection:
    certificate = certificate_for(ALICE, signed_by=signed_by)
    return foreign_client(private(ALICE), certificate, version=version)


def test_any_self_signed_certificate_of_the_right_key_will_do_however_old() -> None:
    _, server = pair()
    connection = foreign_alice()
    connection.set_alpn_protos([tls.ALPN])
    converse(connection, server)
    assert server.peer == ALICE.device_id


def test_a_certificate_that_another_key_signed_is_refused() -> None:
    _, server = pair()
    connection = foreign_alice(signed_by=EVE)
    connection.set_alpn_protos([tls.ALPN])
    with pytest.raises(TrustError):
        converse(connection, server)


@pytest.mark.parametrize("offered", [[], [b"h2"]], ids=["none", "another"])
def test_another_protocol_in_alpn_is_refused(offered: list[bytes]) -> None:
    _, server = pair()
    connection = foreign_alice()
    if offered:
        connection.set_alpn_protos(offered)
    with pytest.raises(LinkError, match="does not speak"):
        converse(connection, server)


def test_tls_1_2_is_refused() -> None:
    _, server = pair()
    connection = foreign_alice(version=SSL.TLS1_2_VERSION)
    connection.set_alpn_protos([tls.ALPN])
    with pytest.raises(LinkError):
        converse(connection, server)


def test_no_session_is_resumed() -> None:
    """A resumed session would not ask the callback, and a device forgotten meanwhile would come in."""
    identity, bob = Identity.of(ALICE), Identity.of(BOB)
    first = identity.connection(is_client=True)
    server = TlsMachine(bob, is_client=False, accepts=only(ALICE))
    converse(first, server)
    with pytest.raises(SSL.WantReadError):
        first.recv(1)  # a ticket would be taken in here
    session = first.get_session()
    assert session is not None
    again = identity.connection(is_client=True)
    again.set_session(session)
    asked: list[DeviceId] = []

    def accepts(device: DeviceId) -> bool:
        asked.append(device)
        return False

    with pytest.raises(TrustError):
        converse(again, TlsMachine(bob, is_client=False, accepts=accepts))
    assert asked == [ALICE.device_id]


def test_plaintext_arrives_whole_and_in_order() -> None:
    client, server = pair()
    shaken(client, server)
    sent = bytes(range(256)) * 8192
    for start in range(0, len(sent), 300_000):
        client.write(sent[start : start + 300_000])
    client.write(b"")
    client.write(b"end")
    assert heard(server, client.data_to_send()) == sent + b"end"
    assert bytes(client.data_to_send()) == b""
    server.write(b"answer")
    assert heard(client, server.data_to_send()) == b"answer"


def test_what_comes_in_one_piece_with_the_end_of_the_handshake_is_kept() -> None:
    client, server = pair()
    for one, other in ((client, server), (server, client)):
        one.handshake()
        other.receive(one.data_to_send())
    assert client.handshake()
    client.write(b"early")
    server.receive(client.data_to_send())
    assert server.handshake()
    assert heard(server, b"") == b"early"


def test_an_altered_record_breaks_the_session() -> None:
    client, server = pair()
    shaken(client, server)
    client.write(b"hello")
    data = bytearray(client.data_to_send())
    data[-1] ^= 1
    with pytest.raises(LinkError):
        heard(server, data)


def test_each_direction_of_each_session_has_a_key_of_its_own() -> None:
    records = []
    for client, server in (pair(), pair()):
        shaken(client, server)
        for machine in (client, server):
            machine.write(b"the same words")
            records.append(bytes(machine.data_to_send()))
    assert len({record[4:] for record in records}) == 4
    for record in (records[0], records[2]):
        with pytest.raises(LinkError):
            heard(client, record)


def test_a_server_says_nothing_in_tls_behind_the_handshake() -> None:
    """A ticket would come where the client expects a record."""
    client, server = pair()
    shaken(client, server)
    assert bytes(server.data_to_send()) == b""


def test_the_end_is_said_and_heard() -> None:
    client, server = pair()
    shaken(client, server)
    client.write(b"last")
    client.close()
    assert not server.has_ended
    assert heard(server, client.data_to_send()) == b"last"
    assert server.has_ended


def test_a_session_that_was_never_made_can_be_closed() -> None:
    client, _ = pair()
    client.close()
    assert bytes(client.data_to_send()) == b""


@pytest.mark.parametrize("suite", [AES, CHACHA])
def test_records_are_sealed_by_what_the_handshake_chose(monkeypatch: pytest.MonkeyPatch, suite: str) -> None:
    monkeypatch.setattr(tls, "prefers_aes", lambda: suite == AES)
    client, server = pair()
    shaken(client, server)
    client.write(b"hello")
    assert heard(server, client.data_to_send()) == b"hello"
    assert isinstance(client._sealer._aead, AEADS[suite])


def test_an_identity_hides_its_key_and_has_one_certificate() -> None:
    identity = Identity.of(ALICE)
    assert ALICE.seed.hex() not in repr(identity)
    assert repr(ALICE.seed)[2:-1] not in repr(identity)
    first, second = (TlsMachine(Identity.of(BOB), is_client=True, accepts=only(ALICE)) for _ in range(2))
    for machine in (first, second):
        shaken(machine, TlsMachine(Identity.of(ALICE), is_client=False, accepts=only(BOB)))
    assert first.peer == second.peer


def test_the_faster_suite_comes_first() -> None:
    assert suites(aes_first=True) == f"{AES}:{CHACHA}".encode()
    assert suites(aes_first=False) == f"{CHACHA}:{AES}".encode()
    assert prefers_aes() is prefers_aes()


@pytest.mark.parametrize(
    ("client_has_aes", "server_has_aes", "expected"),
    [(True, True, AES), (True, False, CHACHA), (False, True, CHACHA), (False, False, CHACHA)],
)
def test_whoever_lacks_aes_decides(
    monkeypatch: pytest.MonkeyPatch, client_has_aes: bool, server_has_aes: bool, expected: str
) -> None:
    monkeypatch.setattr(tls, "prefers_aes", lambda: client_has_aes)
    connection = Identity.of(ALICE).connection(is_client=True)
    monkeypatch.setattr(tls, "prefers_aes", lambda: server_has_aes)
    converse(connection, TlsMachine(Identity.of(BOB), is_client=False, accepts=only(ALICE)))
    assert connection.get_cipher_name() == expected
