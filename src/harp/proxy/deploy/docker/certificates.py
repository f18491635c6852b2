# SPDX-License-Identifier: AGPL-3.0-or-later
"""Certificates for a container's own store: where they go, and how they travel (contract, 3.4; 133, 134)."""

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+?-----END CERTIFICATE-----")


@dataclass(frozen=True, slots=True)
class Store:
    """A distribution's folder for further authorities, and what takes them in."""

    folder: str
    update: Sequence[str]


_DEBIAN = Store("/usr/local/share/ca-certificates", ("update-ca-certificates",))
_RED_HAT = Store("/etc/pki/ca-trust/source/anchors", ("update-ca-trust", "extract"))
_STORES = {
    "alpine": _DEBIAN,
    "debian": _DEBIAN,
    "ubuntu": _DEBIAN,
    "centos": _RED_HAT,
    "almalinux": _RED_HAT,
    "rhel": _RED_HAT,
    "fedora": _RED_HAT,
}


def store_of(os_release: str) -> Store | None:
    """The store of the distribution that ``/etc/os-release`` speaks of; ``None`` where nobody knows it."""
    said = os_release.lower()
    return next((store for word, store in _STORES.items() if word in said), None)


def certificates_in(bundle: str) -> list[str]:
    """The certificates of a bundle, each as a text of its own; what is none is left out."""
    return [f"{found}\n" for found in _PEM.findall(bundle)]


def files_for(store: Store, certificates: Sequence[str]) -> dict[str, bytes]:
    """The certificates by the names of their files."""
    return {f"{store.folder}/custom_ca_cert_{number}.crt": text.encode() for number, text in enumerate(certificates)}


def archive(files: Mapping[str, bytes], *, mode: int = 0o644) -> bytes:
    """A tar archive for a container's root."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def first_text(packed: bytes) -> str | None:
    """The first file of a tar archive as text; ``None`` where it is no file, or not all there."""
    try:
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            entry = tar.next()
            content = tar.extractfile(entry) if entry is not None and entry.isfile() else None
            return None if content is None else content.read().decode(errors="replace")
    except tarfile.TarError:
        return None
