# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a container is called, made of and given: names, container, mounts, environment (112–119)."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.proxy.deploy.docker import container, environment, mounts, names
from harp.proxy.deploy.docker.mounts import MountRefused
from harp.proxy.deploy.payload import Create, Mount, Named
from harp.proxy.model import BindFolder

ALLOWED = (
    BindFolder("/srv/shared"),
    BindFolder("/srv/models", is_read_only=True),
    BindFolder("/srv/shared/laws", True),
)
GIVEN = ["AA_VERSION=1", "APP_ID=a", "APP_HOST=127.0.0.1", "APP_PORT=23005", "X=1", "HP_FRP_PORT=1", "HP_SHARED_KEY=k"]


def test_names() -> None:
    assert names.container(Named("MyApp")) == "nc_app_MyApp"
    assert names.container(Named("a", "i", "r")) == "nc_app_i_a_r"
    assert names.volume(Named("a", "i", "r")) == "nc_app_i_a_data"


def test_the_least_container() -> None:
    form = Create("a", image="i")

    assert container.specification(form, network="bridge", lines=["A=1"], allowed=()) == {
        "Image": "i",
        "Hostname": "a",
        "Env": ["A=1"],
        "Labels": {"harp.app": "a"},
        "HostConfig": {
            "NetworkMode": "bridge",
            "RestartPolicy": {"Name": "unless-stopped"},
            "Mounts": [{"Type": "volume", "Source": "nc_app_a_data", "Target": "/nc_app_a_data", "ReadOnly": False}],
        },
    }


def test_a_network_with_names_gives_it_one_and_the_hosts_own_takes_a_port() -> None:
    form = Create("a", image="i")

    named = container.specification(form, network="nc", lines=GIVEN, allowed=())
    on_host = container.specification(form, network="host", lines=GIVEN, allowed=())

    assert named["NetworkingConfig"] == {"EndpointsConfig": {"nc": {"Aliases": ["a"]}}}
    assert "NetworkingConfig" not in on_host
    assert on_host["Labels"] == {"harp.app": "a", "harp.host-port": "23005"}


def test_folders_of_the_host_are_given_where_the_variable_names_them() -> None:
    asked = [Mount("/srv/shared", "/a"), Mount("/srv/models/x", "/b", "ro"), Mount("/srv/shared/laws/1", "/c", "ro")]

    found = mounts.bind_mounts(Named("a"), asked, ALLOWED)

    assert [(each["Source"], each["Target"], each["ReadOnly"]) for each in found] == [
        ("/srv/shared", "/a", False),
        ("/srv/models/x", "/b", True),
        ("/srv/shared/laws/1", "/c", True),
    ]


@pytest.mark.parametrize(
    ("source", "target", "mode"),
    [
        ("/", "/a", "rw"),
        ("/etc", "/a", "ro"),
        ("/var/run/docker.sock", "/a", "rw"),
        ("/srv/sharedx", "/a", "rw"),
        ("/srv/shared/../../etc", "/a", "rw"),
        ("/srv/shared/.", "/a", "rw"),
        ("/srv//shared", "/a", "rw"),
        ("//srv/shared", "/a", "rw"),
        ("/srv/shared/", "/a", "rw"),
        ("srv/shared", "/a", "rw"),
        ("", "/a", "rw"),
        ("/srv/shared/a\nb", "/a", "rw"),
        ("/srv/models", "/a", "rw"),
        ("/srv/models", "/a", "RO"),
        ("/srv/shared/laws", "/a", "rw"),
        ("/srv/shared", "/", "rw"),
        ("/srv/shared", "a", "rw"),
        ("/srv/shared", "/nc_app_a_data", "rw"),
        ("/srv/shared", "/nc_app_a_data/x", "rw"),
        ("/srv/shared", "/a/../proc", "rw"),
    ],
)
def test_everything_else_is_refused_and_the_variable_named(source: str, target: str, mode: str) -> None:
    with pytest.raises(MountRefused) as refused:
        mounts.bind_mounts(Named("a"), [Mount(source, target, mode)], ALLOWED)

    assert "\n" not in str(refused.value)
    assert "HP_BIND_MOUNTS" in str(refused.value) or "absolute path of its own" in str(refused.value)


@given(st.text(alphabet="/.srvhaedm", max_size=40))
def test_no_spelling_leads_out_of_the_folders(source: str) -> None:
    try:
        mounts.bind_mounts(Named("a"), [Mount(source, "/x", "ro")], ALLOWED)
    except MountRefused:
        return
    inside = posixpath.normpath(posixpath.join("/", source))
    assert inside == source
    assert any(inside == each.path or inside.startswith(each.path + "/") for each in ALLOWED)


def test_without_frp_an_app_listens_itself_and_never_has_the_key() -> None:
    lines = environment.without_frp(GIVEN, is_on_host=False)

    assert lines == ["AA_VERSION=1", "APP_ID=a", "APP_HOST=0.0.0.0", "APP_PORT=23005", "X=1"]
    assert "APP_HOST=127.0.0.1" in environment.without_frp(GIVEN, is_on_host=True), "all the world reaches the others"


def test_with_frp_an_app_has_a_token_of_its_own() -> None:
    assert environment.with_token(GIVEN, "t") == [*GIVEN[:-1], "HP_SHARED_KEY=t"]


def test_what_an_environment_says() -> None:
    given = environment.variables(GIVEN)

    assert environment.speaks_frp(given)
    assert not environment.speaks_frp({"HP_SHARED_KEY": ""})
    assert environment.app_port(given) == 23_005
    for odd in ("", "0", "x", "65536", "²", "999999"):
        assert environment.app_port({"APP_PORT": odd}) is None


@given(st.lists(st.text(max_size=8).map(lambda name: f"{name}=v") | st.sampled_from(GIVEN)))
def test_what_stays_keeps_its_order(lines: list[str]) -> None:
    rest = environment.without_frp(lines, is_on_host=True)

    assert not environment.speaks_frp(environment.variables(rest))
    dropped = ("HP_FRP_ADDRESS", "HP_FRP_PORT", "HP_SHARED_KEY")
    kept = [line.partition("=")[0] for line in lines if line.partition("=")[0] not in dropped]
    assert [line.partition("=")[0] for line in rest] == kept
