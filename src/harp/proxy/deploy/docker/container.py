# SPDX-License-Identifier: AGPL-3.0-or-later
"""The container of an app, in the words of the Engine API (contract, 3.4; 112–119)."""

from collections.abc import Sequence
from typing import Any

from harp.proxy.deploy.docker import environment, mounts
from harp.proxy.deploy.payload import Create
from harp.proxy.model import BindFolder

LABEL_APP = "harp.app"
LABEL_HOST_PORT = "harp.host-port"
"""On containers in the host's network: the port that no other may have."""
_SHARED_NETWORKS = ("host", "bridge", "none", "default")


def specification(form: Create, *, network: str, lines: Sequence[str], allowed: Sequence[BindFolder]) -> dict[str, Any]:
    """What ``POST /containers/create`` is sent. Raises :class:`mounts.MountRefused`."""
    host: dict[str, Any] = {
        "NetworkMode": network,
        "RestartPolicy": {"Name": form.restart_policy or "no"},
        "Mounts": [mounts.volume_mount(form), *mounts.bind_mounts(form, form.mount_points, allowed)],
    }
    for name, key in (("memory", "Memory"), ("nanoCPUs", "NanoCPUs")):
        if form.limit(name) is not None:
            host[key] = form.limit(name)
    host |= _device(form.compute_device)
    labels = {LABEL_APP: form.name}
    port = environment.app_port(environment.variables(lines))
    if network == "host" and port is not None:
        labels[LABEL_HOST_PORT] = str(port)
    said: dict[str, Any] = {
        "Image": form.reference,
        "Hostname": form.name,
        "Env": list(lines),
        "Labels": labels,
        "HostConfig": host,
    }
    if network not in _SHARED_NETWORKS:
        said["NetworkingConfig"] = {"EndpointsConfig": {network: {"Aliases": [form.name]}}}
    return said


def _device(kind: str) -> dict[str, Any]:
    if kind == "cuda":
        return {"DeviceRequests": [{"Driver": "nvidia", "Count": -1, "Capabilities": [["compute", "utility"]]}]}
    if kind == "rocm":
        devices = ("/dev/kfd", "/dev/dri")
        return {
            "Devices": [{"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"} for path in devices]
        }
    return {}
