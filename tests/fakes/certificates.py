# SPDX-License-Identifier: AGPL-3.0-or-later
"""Certificates of web servers: one that vouches for itself, and an authority with one below it, good and bad."""

import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

TRUSTS_NOBODY = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
"""For a process that talks to nobody out there: the hundred and more authorities that a machine trusts are read again
by each that is started, 40 ms at a time."""


@dataclass(frozen=True)
class Certificate:
    """``path`` holds certificate and key, one after the other."""

    path: Path


def certificate(folder: Path, name: str) -> Certificate:
    """Vouches for itself, for the host ``name`` (or that IP address), for a day around now: who names it as an
    authority believes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = _signed(_named(name), _named(name), key, key, name=name)
    return _written(folder / f"{name}.pem", [made], key)


class Authority:
    """A root and one authority below it, which signs; ``root`` is what others have to trust."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        root_key = ec.generate_private_key(ec.SECP256R1())
        root, between = _named("Root"), _named("Between")
        self._root = _signed(root, root, root_key, root_key)
        self._between = _signed(between, root, self._key, root_key)
        self.root = folder / "root.pem"
        self.root.write_bytes(self._root.public_bytes(serialization.Encoding.PEM))

    def issued(self, name: str, *, from_h: int = -12, to_h: int = 12, chain: str = "between") -> Certificate:
        """For the host ``name``, valid between so many hours from now; ``chain`` is how much of it is served: ``leaf``,
        ``between`` (as it should be) or ``root``."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _signed(_named(name), _named("Between"), key, self._key, name=name, is_ca=False, hours=(from_h, to_h))
        served = {"leaf": [leaf], "between": [leaf, self._between], "root": [leaf, self._between, self._root]}[chain]
        return _written(self._folder / f"{chain}{from_h}{to_h}{name}.pem", served, key)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    name: str = "",
    is_ca: bool = True,
    hours: tuple[int, int] = (-12, 12),
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(hours=hours[0]))
        .not_valid_after(now + dt.timedelta(hours=hours[1]))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if name:
        made = made.add_extension(x509.SubjectAlternativeName([_alternative(name)]), critical=False)
    return made.sign(signer, hashes.SHA256())


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _written(path: Path, chain: list[x509.Certificate], key: ec.EllipticCurvePrivateKey) -> Certificate:
    path.write_bytes(
        b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Certificate(path)
