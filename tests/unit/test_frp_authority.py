# SPDX-License-Identifier: AGPL-3.0-or-later
"""FRP's certificates and the secret of its tokens, on the disk: harp.proxy.edge.frp.authority and .apps."""

import datetime as dt
import os
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from harp.base.errors import ConfigError
from harp.proxy.edge.frp.apps import AppTunnels
from harp.proxy.edge.frp.authority import Authority
from harp.proxy.model import AppId
from harp.proxy.policy.tunnels import AppHolder, holder_of

NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC).timestamp()
DAY = 86_400.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "frp", 5000)


def contents(authority: Authority) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in authority.folder.iterdir()}


def read(authority: Authority, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((authority.folder / f"{name}.crt").read_bytes())


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """TLS between two contexts, in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not waiting


def contexts(authority: Authority, client: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """As frps and frpc are told to make them."""
    ca = str(authority.folder / "ca.crt")
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    serving.load_cert_chain(authority.folder / "server.crt", authority.folder / "server.key")
    serving.verify_mode = ssl.CERT_REQUIRED
    calling = ssl.create_default_context(cafile=ca)
    calling.load_cert_chain(client / "client.crt", client / "client.key")
    return serving, calling


def test_what_is_missing_is_made_once(authority: Authority) -> None:
    assert authority.ensure(NOW)
    before = contents(authority)
    assert before.keys() == {f"{name}.{kind}" for name in ("ca", "server", "client") for kind in ("crt", "key")}

    assert not authority.ensure(NOW + DAY)
    assert contents(authority) == before


def test_keys_are_for_their_owner_alone(authority: Authority) -> None:
    authority.ensure(NOW)
    authority.tokens_secret()

    assert authority.folder.stat().st_mode & 0o777 == 0o700
    for path in authority.folder.iterdir():
        assert path.stat().st_mode & 0o077 == (0o044 if path.suffix == ".crt" else 0)


def test_a_client_and_the_server_believe_each_other(authority: Authority, tmp_path: Path) -> None:
    import time

    authority.ensure(time.time())
    for name, content in authority.for_app("some_app.2", time.time()).items():
        (tmp_path / name).write_bytes(content)

    for folder in (authority.folder, tmp_path):
        handshake(*contexts(authority, folder), "harp.nc")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(*contexts(authority, tmp_path), "harp.client.nc")


def test_an_app_cannot_pass_for_the_server_nor_sign_for_others(authority: Authority) -> None:
    authority.ensure(NOW)

    own = x509.load_pem_x509_certificate(authority.for_app("harp.nc", NOW)["client.crt"])

    assert own.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert list(own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    with pytest.raises(x509.ExtensionNotFound):
        own.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_each_app_has_a_key_that_nobody_else_has(authority: Authority) -> None:
    authority.ensure(NOW)

    given = [authority.for_app(app, NOW) for app in ("a", "b", "a")]

    assert len({each["client.key"] for each in given}) == 3
    assert all(each["ca.crt"] == (authority.folder / "ca.crt").read_bytes() for each in given)
    assert all(each.keys() == {"ca.crt", "client.crt", "client.key"} for each in given)
    assert (authority.folder / "ca.key").read_bytes() not in [content for each in given for content in each.values()]


def test_certificates_last_as_long_as_was_asked(tmp_path: Path) -> None:
    short = Authority(tmp_path / "short", 90)
    short.ensure(NOW)

    for name in ("ca", "server", "client"):
        assert read(short, name).not_valid_after_utc.timestamp() == NOW + 90 * DAY
    assert short.ends() == NOW + 90 * DAY


def test_a_certificate_that_is_about_to_end_is_made_anew_by_the_same_authority(tmp_path: Path) -> None:
    Authority(tmp_path, 5000).ensure(NOW)
    (tmp_path / "server.crt").unlink()
    short = Authority(tmp_path, 90)
    assert short.ensure(NOW)
    first, ca = read(short, "server"), read(short, "ca")

    assert not short.ensure(NOW + 59 * DAY)
    assert short.ensure(NOW + 61 * DAY)

    assert read(short, "server").not_valid_after_utc > first.not_valid_after_utc
    assert read(short, "ca") == ca, "or every app would have to be made anew"
    assert not short.ensure(NOW + 62 * DAY)


def test_an_authority_that_has_ended_says_what_to_do(tmp_path: Path) -> None:
    short = Authority(tmp_path, 90)
    short.ensure(NOW)

    assert not short.ensure(NOW + 91 * DAY), "apps and engines would not believe another one"
    with pytest.raises(ConfigError, match="has ended on 2027-02-26"):
        short.for_app("a", NOW + 91 * DAY)


def test_what_the_reference_made_with_openssl_is_used(authority: Authority, tmp_path: Path) -> None:
    folder = authority.folder
    folder.mkdir()
    run = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "5000", "-subj", "/CN=harp.nc"]
    subprocess.run(
        [*run, "-keyout", folder / "ca.key", "-out", folder / "ca.crt"], check=True, capture_output=True, timeout=60
    )
    before = contents(authority)

    authority.ensure(NOW)

    assert {name: contents(authority)[name] for name in before} == before
    own = x509.load_pem_x509_certificate(authority.for_app("a", NOW)["client.crt"])
    own.verify_directly_issued_by(read(authority, "ca"))


def test_what_cannot_be_read_is_one_line_and_stays(authority: Authority) -> None:
    authority.ensure(NOW)
    (authority.folder / "ca.key").write_text("rubbish")

    with pytest.raises(ConfigError, match=r"ca\.crt or ca\.key in .* cannot be read as PEM"):
        authority.ensure(NOW)
    assert (authority.folder / "ca.key").read_text() == "rubbish"
    assert authority.ends() is None


def test_a_folder_that_cannot_be_made_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError) as caught:
        Authority(tmp_path / "file" / "frp", 1).ensure(NOW)
    assert "HP_FRP_DIR" in (caught.value.hint or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_someone_else_is_one_line(authority: Authority) -> None:
    authority.ensure(NOW)
    (authority.folder / "ca.key").chmod(0)

    with pytest.raises(ConfigError, match="Permission denied"):
        authority.ensure(NOW)


def test_the_secret_of_tokens_is_kept_and_random(authority: Authority, tmp_path: Path) -> None:
    secret = authority.tokens_secret()

    assert secret == Authority(authority.folder, 1).tokens_secret()
    assert secret != Authority(tmp_path / "other", 1).tokens_secret()
    assert len(secret) == 64
    (authority.folder / "tokens.key").write_text("short\n")
    with pytest.raises(ConfigError, match="no secret for tokens"):
        authority.tokens_secret()


def test_what_an_app_is_given(authority: Authority) -> None:
    authority.ensure(NOW)
    secret = authority.tokens_secret()
    given, plain = (AppTunnels(authority, secret, has_tls=has_tls, now=lambda: NOW) for has_tls in (True, False))

    token = given.token(AppId("app"), 23_001)

    assert token is not None
    assert holder_of(token, secret=secret, key="key") == AppHolder(AppId("app"), 23_001)
    assert plain.token(AppId("app"), 23_001) == token
    assert given.certificates(AppId("app")).keys() == {"ca.crt", "client.crt", "client.key"}
    assert plain.certificates(AppId("app")) == {}
