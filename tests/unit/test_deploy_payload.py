# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.deploy.payload: what AppAPI may send, and what hostile bodies get (109, 110, 120, 121)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.proxy.deploy import payload
from harp.proxy.deploy.payload import Create, Mount, Named
from harp.proxy.deploy.port import Outcome


def read(verb: str, **said: Any) -> payload.Form | Outcome:
    return payload.read(verb, json.dumps(said).encode())


def test_what_appapi_sends() -> None:
    form = read(
        "create",
        name="My_App",
        instance_id="",
        role_suffix="",
        image="ghcr.io/nextcloud/app:1.0-cpu",
        network_mode="host",
        environment_variables=["A=1", "B=2=3"],
        restart_policy="unless-stopped",
        compute_device="cuda",
        mount_points=[{"source": "/a", "target": "/b", "mode": "ro"}],
        resource_limits=[],
        start_container=True,
    )

    assert isinstance(form, Create)
    assert form.reference == "ghcr.io/nextcloud/app:1.0-cpu"
    assert form.mount_points == [Mount("/a", "/b", "ro")]
    assert form.limit("memory") is None


def test_limits_are_numbers() -> None:
    form = read("create", name="a", image="b", resource_limits={"memory": 1 << 30, "nanoCPUs": 5})
    assert isinstance(form, Create)
    assert (form.limit("memory"), form.limit("nanoCPUs")) == (1 << 30, 5)

    for wrong in ({"memory": "1G"}, {"memory": -1}, {"nanoCPUs": 0.5}, {"memory": True}):
        refused = read("create", name="a", image="b", resource_limits=wrong)
        assert isinstance(refused, Outcome)
        assert (refused.status, refused.text[:24]) == (400, "Payload validation error")


@pytest.mark.parametrize("header", ["0", "65536", "x", "-1", "24000.0", "²", "9" * 400, ""])
def test_an_engines_number_that_is_none(header: str) -> None:
    found = payload.engine_port(header)
    assert isinstance(found, Outcome)
    assert (found.status, len(found.text) < 100) == (400, True)
    assert payload.engine_port("24000") == 24_000
    assert payload.engine_port(None) == Outcome(400, "Missing 'docker-engine-port' header.")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"name": "a"', b"nul", b"[" * 100_000], ids=range(6))
def test_a_body_that_is_no_json(body: bytes) -> None:
    assert payload.read("start", body) == Outcome(400, "Invalid JSON body")


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("start", {}),
        ("start", {"name": None}),
        ("create", {"name": "a"}),
        ("create", {"name": "a", "image": "b", "compute_device": "tpu"}),
        ("create", {"name": "a", "image": "b", "restart_policy": "never"}),
        ("create", {"name": "a", "image": "b", "network_mode": "container:nextcloud-db"}),
        ("create", {"name": "a", "image": "b", "environment_variables": ["A=\0"]}),
        ("create", {"name": "a", "image": "b/../c"}),
        ("remove", {"name": "a", "remove_data": "yes"}),
        ("image_remove", {"image_ref": ""}),
        ("image_remove", {"image_ref": "../containers/x?force=1"}),
    ],
)
def test_what_cannot_be_is_told_so(verb: str, said: dict[str, Any]) -> None:
    refused = read(verb, **said)

    assert isinstance(refused, Outcome)
    assert refused.status == 400
    assert refused.text.startswith("Payload validation error: ")
    assert "\n" not in refused.text


HOSTILE = st.text(alphabet=st.sampled_from("aB0._-/%?#:@\\ \n\0é"), min_size=1, max_size=30)


@given(HOSTILE, HOSTILE)
def test_a_name_that_is_accepted_is_one_part_of_a_path(name: str, suffix: str) -> None:
    form = read("start", name=name, role_suffix=suffix)

    if isinstance(form, Named):
        assert not set("/%?#:@\\ \n\0é") & set(form.name + form.role_suffix)
        assert form.name[0] not in "._-"


@given(st.lists(HOSTILE, min_size=1, max_size=4).map("/".join))
def test_an_image_that_is_accepted_leads_nowhere_else(reference: str) -> None:
    form = read("image_remove", image_ref=reference)

    if isinstance(form, payload.ImageRemove):
        assert not set("%?#\\ \n\0é") & set(reference)
        assert ".." not in reference.split("/")
        assert not reference.startswith("/")
        assert "//" not in reference
