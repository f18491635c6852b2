# SPDX-License-Identifier: AGPL-3.0-or-later
"""Kubernetes, which Harp does not manage: calls are answered as the contract says for a backend that is disabled."""

from harp.proxy.deploy import payload
from harp.proxy.deploy.port import Outcome


class NoKubernetes:
    """Kubernetes calls, disabled: ``install_certificates`` has nothing to do anyway (contract, 3.7)."""

    def is_available(self) -> bool:
        return False

    async def call(self, verb: str, engine_port: str | None, body: bytes) -> Outcome:
        if verb == "install_certificates":
            form = payload.read(verb, body)
            return form if isinstance(form, Outcome) else Outcome(204)
        return Outcome(503, "Kubernetes backend is disabled in HaRP.")
