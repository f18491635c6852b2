# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bodies that AppAPI sends to a deployment backend, and what of them cannot be (contract, 3.3 and 3.4)."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from harp.proxy.deploy.port import Outcome

VERBS = frozenset(
    {
        "exists",
        "create",
        "start",
        "stop",
        "wait_for_start",
        "remove",
        "image_remove",
        "install_certificates",
    }
)
K8S_VERBS = (VERBS - {"image_remove"}) | {"expose"}

# Names go into paths of the Engine API, and into names of containers, volumes and folders: what Docker itself takes.
_Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z", max_length=100)]
_MaybeName = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z0-9_.-]*\Z", max_length=100)]
# No "container:ID" among them: it would put an app into the network of any other container.
_Network = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z", max_length=200)]
# A path's parts begin with a letter or a digit, so that no reference leads out of its place in an URL.
_Image = Annotated[
    str,
    msgspec.Meta(
        pattern=r"\A[a-zA-Z0-9][a-zA-Z0-9_.-]*([/:@][a-zA-Z0-9_][a-zA-Z0-9_.-]*)*\Z", min_length=1, max_length=500
    ),
]
_Line = Annotated[str, msgspec.Meta(pattern=r"\A[^\0]*\Z")]


class Named(msgspec.Struct, frozen=True):
    """Which app: the container's and the volume's names follow from it."""

    name: _Name
    instance_id: _MaybeName = ""
    role_suffix: _MaybeName = ""


class Mount(msgspec.Struct, frozen=True):
    """A folder of the host, and where the app sees it; it may write unless ``mode`` is ``ro``."""

    source: _Line
    target: _Line
    mode: str = "rw"


class Create(Named, frozen=True):
    """A container to be made. ``image`` is another name of ``image_id`` (121)."""

    image_id: _Image | None = None
    image: _Image | None = None
    network_mode: _Network = "bridge"
    environment_variables: list[_Line] = []
    restart_policy: Literal["", "no", "always", "on-failure", "unless-stopped"] = "unless-stopped"
    compute_device: Literal["cpu", "cuda", "rocm"] = "cpu"
    mount_points: list[Mount] = []
    resource_limits: dict[str, Any] | list[Any] | None = None
    """PHP writes an empty object as a list."""

    def __post_init__(self) -> None:
        if self.image_id is None and self.image is None:
            raise ValueError("image_id is required")
        for name in ("memory", "nanoCPUs"):
            number = self.limit(name)
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
                raise ValueError(f"resource_limits.{name} must be a whole number that is not negative")

    @property
    def reference(self) -> str:
        """The image."""
        return self.image_id or self.image or ""

    def limit(self, name: str) -> Any:
        """What is set as a limit; None where nothing is."""
        return self.resource_limits.get(name) if isinstance(self.resource_limits, dict) else None


class Remove(Named, frozen=True):
    """A container to be removed, with its volume or without."""

    remove_data: bool = False


class ImageRemove(msgspec.Struct, frozen=True):
    """An image that nobody wants any more."""

    image_ref: _Image


class Certificates(Named, frozen=True):
    """Certificates that the app shall believe: PEM, one behind another."""

    system_certs_bundle: str | None = None
    install_frp_certs: bool = True


_FORMS: dict[str, type[msgspec.Struct]] = {
    "create": Create,
    "remove": Remove,
    "image_remove": ImageRemove,
    "install_certificates": Certificates,
}
Form = Named | ImageRemove
_Form = TypeVar("_Form", bound=msgspec.Struct)


def read(verb: str, body: bytes) -> Form | Outcome:
    """The body of one call, or the answer that says what is wrong with it."""
    form: type[Any] = _FORMS.get(verb, Named)
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Outcome(400, "Invalid JSON body")
    try:
        found: Form = msgspec.json.decode(body, type=form)
    except msgspec.ValidationError as error:
        return Outcome(400, f"Payload validation error: {error}")
    return found


def engine_port(header: str | None) -> int | Outcome:
    """The number of an engine in ``docker-engine-port``, or the answer that says what is wrong with it (109, 110)."""
    if header is None:
        return Outcome(400, "Missing 'docker-engine-port' header.")
    if not header.isascii() or not header.isdecimal() or not 1 <= int(header[:6]) <= 65_535:
        return Outcome(400, f"Invalid 'docker-engine-port' header value: {header[:32]}")
    return int(header)
