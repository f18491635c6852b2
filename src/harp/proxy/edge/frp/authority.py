# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folder of FRP's certificates, made by Harp, under the names that the reference gives them (contract, 4.2).

One authority, the server's certificate, one for clients that are no app in a container (an engine's frpc), and the
secret that tokens are made from. Each app gets a certificate of its own. What the reference has made is used as it is.
"""

import datetime as dt
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harp.base.errors import ConfigError

SERVER_NAME = "harp.nc"
"""Which clients are told to expect (``transport.tls.serverName``)."""
CLIENT_NAME = "harp.client.nc"
AUTHORITY_NAME = "Harp FRP authority"
"""Not the server's, as the reference has it: OpenSSL takes a certificate for self-signed whose two names are one."""
EARLY = dt.timedelta(days=30)
"""So long before its end a certificate is made anew; one that is shorter, in the last third of its life."""
TOKENS = "tokens.key"
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class _Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: _Key

    @property
    def files(self) -> tuple[bytes, bytes]:
        pem = serialization.Encoding.PEM
        key = self.key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return self.certificate.public_bytes(pem), key


class Authority:
    """The folder; ``days`` is how long certificates hold. ``now`` is seconds since the epoch."""

    def __init__(self, folder: Path, days: int) -> None:
        self.folder = folder
        self._days = dt.timedelta(days=days)

    def ensure(self, now: float) -> bool:
        """Makes what is missing or about to end, and never another authority; whether anything was made.

        Raises :class:`ConfigError` where the folder or a file in it cannot be used.
        """
        moment = dt.datetime.fromtimestamp(now, dt.UTC)
        self._make_folder()
        authority = self._pair("ca")
        has_made = authority is None
        if authority is None:
            authority = _issued(AUTHORITY_NAME, None, moment, self._days)
            self._write("ca", authority)
        kinds = {"server": (SERVER_NAME, ExtendedKeyUsageOID.SERVER_AUTH)}
        kinds["client"] = (CLIENT_NAME, ExtendedKeyUsageOID.CLIENT_AUTH)
        for file, (name, purpose) in kinds.items():
            found = self._pair(file)
            if found is None or has_made or _is_old(found.certificate, authority.certificate, moment):
                self._write(file, _issued(name, authority, moment, self._days, purpose))
                has_made = True
        return has_made

    def tokens_secret(self) -> bytes:
        """What apps' tokens are made from; made at the first call. Raises :class:`ConfigError`."""
        self._make_folder()
        path = self.folder / TOKENS
        found = self._read(path)
        if found is None:
            found = secrets.token_hex(32).encode()
            self._put(path, found, 0o600)
        if len(found.strip()) < 32:
            raise ConfigError(
                f"{path} is no secret for tokens", hint="remove it: a new one is made, and apps elsewhere made anew"
            )
        return found.strip()

    def for_app(self, app: str, now: float) -> Mapping[str, bytes]:
        """``ca.crt``, and a client's certificate and key that nobody else has. Raises :class:`ConfigError`."""
        authority = self._pair("ca")
        if authority is None:
            raise ConfigError(f"there is no authority in {self.folder}", hint="restart harp: it makes one")
        moment = dt.datetime.fromtimestamp(now, dt.UTC)
        # A common name has 64 characters (RFC 5280, appendix A.1).
        own = _issued(app[:64], authority, moment, self._days, ExtendedKeyUsageOID.CLIENT_AUTH)
        certificate, key = own.files
        return {"ca.crt": authority.files[0], "client.crt": certificate, "client.key": key}

    def ends(self) -> float | None:
        """When the authority's certificate ends, in seconds since the epoch; ``None`` where there is none."""
        try:
            found = self._pair("ca")
        except ConfigError:
            return None
        return None if found is None else found.certificate.not_valid_after_utc.timestamp()

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(
                f"{self.folder} cannot be made: {error.strerror}", hint="set HP_FRP_DIR to a folder of your own"
            ) from None

    def _pair(self, name: str) -> _Pair | None:
        certificate, key = (self._read(self.folder / f"{name}.{kind}") for kind in ("crt", "key"))
        if certificate is None or key is None:
            return None
        try:
            read = serialization.load_pem_private_key(key, password=None)
            if not isinstance(read, _Key):
                raise ValueError("neither RSA nor an elliptic curve")
            return _Pair(x509.load_pem_x509_certificate(certificate), read)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigError(
                f"{name}.crt or {name}.key in {self.folder} cannot be read as PEM",
                hint="remove both, and restart harp: it makes new ones",
            ) from None

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read: {error.strerror}",
                hint=f"make it the file of whoever runs harp (chown -R {os.geteuid()} {self.folder})",
            ) from None

    def _write(self, name: str, pair: _Pair) -> None:
        certificate, key = pair.files
        self._put(self.folder / f"{name}.key", key, 0o600)
        self._put(self.folder / f"{name}.crt", certificate, 0o644)

    def _put(self, path: Path, content: bytes, mode: int) -> None:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}", hint="set HP_FRP_DIR to a folder of your own"
            ) from None


def _issued(
    name: str,
    by: _Pair | None,
    moment: dt.datetime,
    lasts: dt.timedelta,
    purpose: x509.ObjectIdentifier | None = None,
) -> _Pair:
    """A new certificate with a key of its own, by an authority or by itself. Raises :class:`ConfigError`."""
    if by is not None and by.certificate.not_valid_after_utc <= moment:
        raise ConfigError(
            f"FRP's authority has ended on {by.certificate.not_valid_after_utc:%Y-%m-%d}",
            hint="remove its folder (HP_FRP_DIR), restart harp, and update every app and engine elsewhere",
        )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    ends = moment + lasts
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks differ.
        .not_valid_before(moment - dt.timedelta(hours=1))
        .not_valid_after(ends if by is None else min(ends, by.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=0 if by is None else None), critical=True)
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if purpose == ExtendedKeyUsageOID.SERVER_AUTH:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return _Pair(builder.sign(key if by is None else by.key, hashes.SHA256()), key)


def _is_old(certificate: x509.Certificate, authority: x509.Certificate, moment: dt.datetime) -> bool:
    """Whether it is about to end before its authority does; one that cannot last longer is left."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return moment > ends - min(EARLY, (ends - begins) / 3) and ends < authority.not_valid_after_utc
