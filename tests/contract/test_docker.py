# SPDX-License-Identifier: AGPL-3.0-or-later
"""Containers on a real Docker Engine, as AppAPI has them made and run (contract, section 3.4; numbers 111 to 135)."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.contract.docked import Docked, environment
from tests.contract.talk import next_name

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


@pytest.mark.contract(111)
def test_111_whether_a_container_exists(docked: Docked) -> None:
    name = docked.made()

    there = docked.call("exists", name=name)
    gone = docked.call("exists", name=next_name("nobody"))

    assert (there.status, there.json) == (200, {"exists": True, "image_ref": "harp-test-app"})
    assert (gone.status, gone.json) == (200, {"exists": False})


@pytest.mark.contract(112)
@pytest.mark.contract(114)
def test_112_114_what_a_container_and_its_volume_are_called(docked: Docked) -> None:
    name = next_name("CamelCase")

    reply = docked.call("create", name=name, image_id="harp-test-app", environment_variables=environment(name))

    found = docked.inspect(name)
    assert reply.status == 201
    assert reply.json == {"name": f"nc_app_{name}", "id": found["Id"]}
    assert found["State"]["Status"] == "created"
    [mount] = found["Mounts"]
    assert (mount["Type"], mount["Name"], mount["Destination"], mount["RW"]) == (
        "volume",
        f"nc_app_{name}_data",
        f"/nc_app_{name}_data",
        True,
    )


@pytest.mark.contract(112)
def test_instances_and_roles_are_parts_of_the_names(docked: Docked) -> None:
    name = next_name("app")

    reply = docked.call("create", name=name, instance_id="i", role_suffix="worker", image_id="harp-test-app")

    assert reply.json["name"] == f"nc_app_i_{name}_worker"
    [mount] = docked.engine.inspect(f"nc_app_i_{name}_worker")["Mounts"]
    assert mount["Name"] == f"nc_app_i_{name}_data"


@pytest.mark.contract(113)
@pytest.mark.contract(129)
@pytest.mark.contract(130)
def test_113_129_130_data_stays_until_it_is_removed(docked: Docked) -> None:
    name = docked.runs()
    assert docked.engine.run(f"nc_app_{name}", "touch", f"/nc_app_{name}_data/kept")[0] == 0

    assert docked.call("remove", name=name).status == 204
    assert docked.inspect(name) is None
    docked.runs(name=name)

    assert docked.engine.run(f"nc_app_{name}", "ls", f"/nc_app_{name}_data")[1].strip() == "kept"
    assert docked.call("remove", name=name, remove_data=True).status == 204
    assert not docked.has_volume(name)
    assert docked.call("remove", name=name, remove_data=True).status == 204


@pytest.mark.contract(115)
def test_115_a_second_container_of_one_name(docked: Docked) -> None:
    name = docked.made()

    reply = docked.call("create", name=name, image_id="harp-test-app")

    assert (reply.status, reply.text) == (409, f"Container with name 'nc_app_{name}' already exists.")
    assert docked.has_volume(name)


@pytest.mark.contract(116)
def test_116_in_a_network_of_its_own_an_app_is_known_by_its_id(docked: Docked) -> None:
    network = next_name("net")
    assert docked.engine.call("POST", "/networks/create", {"Name": network}).status == 201

    name = docked.runs(network_mode=network, environment_variables=environment("x", direct=True))

    found = docked.inspect(name)
    assert found["Config"]["Hostname"] == name
    assert name in found["NetworkSettings"]["Networks"][network]["Aliases"]
    assert docked.call("remove", name=name).status == 204


@pytest.mark.contract(117)
def test_117_in_the_hosts_network_there_are_no_aliases(docked: Docked) -> None:
    name = docked.made(network_mode="host")

    found = docked.inspect(name)
    assert found["HostConfig"]["NetworkMode"] == "host"
    assert not found["NetworkSettings"]["Networks"]["host"]["Aliases"]


@pytest.mark.contract(118)
@pytest.mark.deviates("folders of the host are given only where HP_BIND_MOUNTS names them")
def test_118_limits_the_restart_policy_and_folders_of_the_host(docked: Docked) -> None:
    (docked.given / "data").mkdir(exist_ok=True)
    source = str(docked.given / "data")

    name = docked.made(
        restart_policy="always",
        resource_limits={"memory": 64 << 20, "nanoCPUs": 500_000_000},
        mount_points=[
            {"source": source, "target": "/read", "mode": "ro"},
            {"source": source, "target": "/write", "mode": "rw"},
        ],
    )

    host = docked.inspect(name)["HostConfig"]
    assert host["RestartPolicy"]["Name"] == "always"
    assert (host["Memory"], host["NanoCpus"]) == (64 << 20, 500_000_000)
    binds = {mount["Target"]: mount.get("ReadOnly", False) for mount in host["Mounts"] if mount["Type"] == "bind"}
    assert binds == {"/read": True, "/write": False}


@pytest.mark.contract(119)
def test_119_graphics_cards(docked: Docked) -> None:
    cuda, rocm = docked.made(compute_device="cuda"), docked.made(compute_device="rocm")

    [request] = docked.inspect(cuda)["HostConfig"]["DeviceRequests"]
    assert (request["Driver"], request["Count"], request["Capabilities"]) == ("nvidia", -1, [["compute", "utility"]])
    devices = docked.inspect(rocm)["HostConfig"]["Devices"]
    assert [device["PathOnHost"] for device in devices] == ["/dev/kfd", "/dev/dri"]
    assert {device["CgroupPermissions"] for device in devices} == {"rwm"}


@pytest.mark.contract(121)
def test_121_image_is_another_name_of_image_id(docked: Docked) -> None:
    name = next_name("app")

    assert docked.call("create", name=name, image="harp-test-app:latest").status == 201
    assert docked.inspect(name)["Config"]["Image"] == "harp-test-app:latest"


@pytest.mark.contract(122)
@pytest.mark.contract(123)
def test_122_123_started_and_stopped_once(docked: Docked) -> None:
    name = docked.made()

    assert [docked.call("start", name=name).status for _ in range(2)] == [204, 200]
    assert docked.inspect(name)["State"]["Running"]
    assert [docked.call("stop", name=name).status for _ in range(2)] == [204, 200]
    assert not docked.inspect(name)["State"]["Running"]
    for verb in ("start", "stop"):
        assert docked.call(verb, name=next_name("nobody")).status == 404


@pytest.mark.contract(124)
def test_124_one_that_runs_has_started(docked: Docked) -> None:
    name = docked.runs()

    reply = docked.call("wait_for_start", name=name)

    assert (reply.status, reply.json) == (200, {"started": True, "status": "running", "health": None})
    assert reply.took_s < 3


@pytest.mark.contract(125)
@pytest.mark.contract(128)
def test_125_128_health_is_waited_for(docked: Docked) -> None:
    check = "HEALTHCHECK --interval=1s --retries=1 CMD test -e /healthy"
    docked.engine.make_image("harp-test-sick", changes=['CMD ["/serve"]', check])
    sick = docked.runs(image_id="harp-test-sick")
    well = docked.made(image_id="harp-test-sick", name=next_name("well"))
    assert docked.call("start", name=well).status == 204
    assert docked.engine.run(f"nc_app_{well}", "touch", "/healthy")[0] == 0

    said = docked.call("wait_for_start", name=sick).json
    assert said == {"started": True, "status": "running", "health": "unhealthy", "reason": "unhealthy"}
    assert docked.call("wait_for_start", name=well).json == {"started": True, "status": "running", "health": "healthy"}


@pytest.mark.contract(126)
def test_126_one_that_has_ended(docked: Docked) -> None:
    docked.engine.make_image("harp-test-dead", changes=['CMD ["/bin/sh", "-c", "exit 3"]'])
    name = docked.runs(image_id="harp-test-dead", restart_policy="no")
    deadline = time.monotonic() + 20
    while docked.inspect(name)["State"]["Running"] and time.monotonic() < deadline:
        time.sleep(0.05)

    said = docked.call("wait_for_start", name=name).json

    assert (said["started"], said["status"], said["health"]) == (False, "exited", None)
    assert said["reason"].startswith("non-recoverable state: exited")


@pytest.mark.contract(127)
def test_127_one_that_is_not_there(docked: Docked) -> None:
    reply = docked.call("wait_for_start", name=next_name("nobody"))

    assert reply.status == 200
    assert reply.json == {"started": False, "status": "not_found", "reason": "container not found"}


@pytest.mark.contract(131)
def test_131_images_of_apps_that_are_gone(docked: Docked) -> None:
    image = docked.engine.make_image("harp-test-old", files={"old": "1"})
    name = docked.made(image_id=image)

    assert docked.call("image_remove", image_ref=image).json == {"deleted": False, "reason": "in_use"}
    assert docked.call("remove", name=name).status == 204
    size = docked.engine.call("GET", f"/images/{image}/json").json["Size"]
    assert docked.call("image_remove", image_ref=image).json == {"deleted": True, "bytes_freed": size}
    again = docked.call("image_remove", image_ref=image)
    assert again.json == {"deleted": True, "bytes_freed": 0, "reason": "not_found"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("authority")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(folder / "key"), "-out", str(folder / "crt"), "-subj", "/CN=an authority"),
        ],
        check=True,
        capture_output=True,
    )
    return (folder / "crt").read_text()


@pytest.mark.contract(132)
@pytest.mark.contract(133)
@pytest.mark.contract(135)
def test_132_133_135_certificates_and_nothing_else_changes(docked: Docked, authority: str) -> None:
    stopped, running = docked.made(), docked.runs()

    for name in (stopped, running):
        reply = docked.call(
            "install_certificates", name=name, system_certs_bundle=authority + authority, install_frp_certs=False
        )
        assert reply.status == 204

    assert not docked.inspect(stopped)["State"]["Running"]
    assert docked.inspect(running)["State"]["Running"]
    assert docked.call("start", name=stopped).status == 204
    for name in (stopped, running):
        container = f"nc_app_{name}"
        folder = "/usr/local/share/ca-certificates"
        assert docked.engine.run(container, "cat", f"{folder}/custom_ca_cert_1.crt")[1].split() == authority.split()
        updated = docked.engine.run(container, "cat", "/certificates-updated")[1]
        assert updated.split() == ["custom_ca_cert_0.crt", "custom_ca_cert_1.crt"]
        assert docked.engine.run(container, "ls", "/certs/frp")[0] != 0


def test_a_container_that_does_not_hear_term_does_not_hold_up_its_install(docked: Docked, authority: str) -> None:
    docked.engine.make_image("harp-test-deaf", changes=['CMD ["sleep", "1000"]'])
    deaf = docked.made(image_id="harp-test-deaf")

    reply = docked.call("install_certificates", name=deaf, system_certs_bundle=authority)

    assert reply.status == 204
    if not docked.harp.is_reference:
        assert reply.took_s < 9, "the engine alone would have waited for ten seconds"
    assert not docked.inspect(deaf)["State"]["Running"]


def test_an_app_does_nothing_while_its_certificates_are_taken_in(docked: Docked, authority: str) -> None:
    slow = "#!/bin/sh\nsleep 1\nls /usr/local/share/ca-certificates > /certificates-updated\n"
    docked.engine.make_image(
        "harp-test-hasty",
        changes=['CMD ["/bin/sh", "-c", "sleep 0.3; touch /the-app-ran; sleep 1000"]'],
        files={"usr/sbin/update-ca-certificates": slow},
    )
    hasty = docked.made(image_id="harp-test-hasty")

    assert docked.call("install_certificates", name=hasty, system_certs_bundle=authority).status == 204

    there = {path: docked.holds(hasty, path) for path in ("/certificates-updated", "/the-app-ran")}
    assert there == {"/certificates-updated": True, "/the-app-ran": docked.harp.is_reference}


def test_a_container_is_not_started_for_nothing(docked: Docked, authority: str) -> None:
    docked.engine.make_image("harp-test-odd", files={"etc/os-release": "ID=plan9\n"})
    plain, odd = docked.made(), docked.made(image_id="harp-test-odd")

    for name, bundle in ((plain, None), (plain, ""), (odd, authority)):
        assert docked.call("install_certificates", name=name, system_certs_bundle=bundle).status == 204

    if not docked.harp.is_reference:
        for name in (plain, odd):
            assert docked.inspect(name)["State"]["StartedAt"].startswith("0001-"), "AppAPI's start would be its second"


@pytest.mark.contract(134)
def test_134_a_distribution_that_nobody_knows(docked: Docked, authority: str) -> None:
    docked.engine.make_image("harp-test-odd", files={"etc/os-release": "ID=plan9\n"})
    name = docked.made(image_id="harp-test-odd")

    assert docked.call("install_certificates", name=name, system_certs_bundle=authority).status == 204
    assert docked.call("install_certificates", name=next_name("nobody")).status == 404
