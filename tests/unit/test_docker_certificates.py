# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.deploy.docker.certificates: a bundle taken apart, and where its parts go (133, 134)."""

import io
import tarfile

import pytest

from harp.proxy.deploy.docker import certificates

ONE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
TWO = "-----BEGIN CERTIFICATE-----\nBBBB=\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("said", "folder"),
    [
        ("ID=alpine", "/usr/local/share/ca-certificates"),
        ('PRETTY_NAME="Debian GNU/Linux 12"', "/usr/local/share/ca-certificates"),
        ('ID="almalinux"\nID_LIKE="rhel"', "/etc/pki/ca-trust/source/anchors"),
        ("ID=plan9", None),
        ("", None),
    ],
)
def test_each_distribution_has_its_store(said: str, folder: str | None) -> None:
    store = certificates.store_of(said)
    assert (store.folder if store else None) == folder


def test_a_bundle_is_its_certificates_and_no_more() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nCCCC\n-----END PRIVATE KEY-----\n"

    assert certificates.certificates_in(f"a comment\n{ONE}{key}# and\r\n{TWO}-----BEGIN CERTIFICATE-----\nAA") == [
        ONE,
        TWO,
    ]
    assert certificates.certificates_in("") == []


def test_they_travel_in_an_archive() -> None:
    store = certificates.store_of("debian")
    assert store is not None
    packed = certificates.archive(certificates.files_for(store, [ONE, TWO]))

    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        found = {entry.name: entry.mode for entry in tar}
        second = tar.extractfile("usr/local/share/ca-certificates/custom_ca_cert_1.crt")
        assert second is not None
        assert second.read().decode() == TWO
    assert found == {f"usr/local/share/ca-certificates/custom_ca_cert_{n}.crt": 0o644 for n in (0, 1)}


def test_the_text_in_an_archive() -> None:
    packed = certificates.archive({"etc/os-release": b"ID=debian"})
    link = io.BytesIO()
    with tarfile.open(fileobj=link, mode="w") as tar:
        entry = tarfile.TarInfo("os-release")
        entry.type, entry.linkname = tarfile.SYMTYPE, "../usr/lib/os-release"
        tar.addfile(entry)

    assert certificates.first_text(packed) == "ID=debian"
    for odd in (link.getvalue(), packed[:515], packed[:100], b"", b"x" * 2000):
        assert certificates.first_text(odd) is None
