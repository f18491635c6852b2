# SPDX-License-Identifier: AGPL-3.0-or-later
"""Certificates are put into a container, which then is as it was: stopped, or running (132–135)."""

import logging

from harp.proxy.deploy.docker import names
from harp.proxy.deploy.docker.call import Call
from harp.proxy.deploy.docker.certificates import archive, certificates_in, files_for, store_of
from harp.proxy.deploy.docker.engine import Refused, Unreachable, one_line
from harp.proxy.deploy.payload import Certificates
from harp.proxy.deploy.port import Outcome
from harp.proxy.model import AppId

_log = logging.getLogger(__name__)
FRP_FOLDER = "/certs/frp"


async def install_certificates(call: Call, form: Certificates) -> Outcome:
    name = names.container(form)
    found = await call.engine.inspect(name)
    if found is None:
        return Outcome(404, f"Container '{name}' not found.")
    frp = call.around.tunnels.certificates(AppId(form.name.lower())) if form.install_frp_certs else {}
    authorities = certificates_in(form.system_certs_bundle or "")
    was_running = (found.get("State") or {}).get("Running") is True
    if not was_running:
        await call.engine.start(name)
    try:
        failed = await _installed(call, name, authorities)
        if failed is None and frp:
            files = {f"{FRP_FOLDER}/{file}": content for file, content in frp.items()}
            await call.engine.put(name, archive(files))
    finally:
        if not was_running:
            await _stopped(call, name)
    return failed or Outcome(204)


async def _stopped(call: Call, name: str) -> None:
    try:
        await call.engine.stop(name)
    except (Refused, Unreachable) as error:
        _log.error("container %s could not be stopped again after its certificates: %s", name, error)


async def _installed(call: Call, name: str, authorities: list[str]) -> Outcome | None:
    """The failure, if it is one that AppAPI is told."""
    code, said = await call.engine.execute(name, "cat", "/etc/os-release")
    if code != 0:
        return Outcome(500, f"The distribution in container '{name}' cannot be told: {one_line(said, 200)}")
    if not authorities:
        return None
    store = store_of(said)
    if store is None:
        _log.warning("container %s is of no distribution whose certificates Harp knows: they are left out", name)
        return None
    code, said = await call.engine.execute(name, "mkdir", "-p", store.folder)
    if code != 0:
        return Outcome(500, f"The folder {store.folder} in container '{name}' cannot be made: {one_line(said, 200)}")
    await call.engine.put(name, archive(files_for(store, authorities)))
    code, said = await call.engine.execute(name, *store.update)
    if code != 0:
        _log.warning("%s in container %s ended with %s: %s", store.update[0], name, code, one_line(said, 200))
    return None
