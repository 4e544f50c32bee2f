# SPDX-License-Identifier: Apache-2.0
"""POST /containers/create: every way to ask for more than a job may have, in keys that Go folds, merges or forgets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.attacks.wire import Parts, Said, create, in_a_job, to_dockerd
from tests.cluster.slurm import Cluster

pytestmark = pytest.mark.anywhere

IMAGE = {"Image": "img", "Cmd": ["true"]}


def host(**fields: Any) -> dict[str, Any]:
    """A body with fields in HostConfig."""
    return IMAGE | {"HostConfig": fields}


def mount(**fields: Any) -> dict[str, Any]:
    """A body with one mount."""
    return host(Mounts=[{"Type": "bind", "Source": "/home/ann", "Target": "/x"} | fields])


SAFE = '{"Image": "img", "Cmd": ["true"]'
# Bodies that dockerd understands as a privileged container.
PRIVILEGED: dict[str, Any] = {
    "as everywhere": host(Privileged=True),
    "lower case": IMAGE | {"hostconfig": {"privileged": True}},
    "upper case": IMAGE | {"HOSTCONFIG": {"PRIVILEGED": True}},
    "a long s": IMAGE | {"HoſtConfig": {"Privileged": True}},  # noqa: RUF001 (that is the attack)
    "an escaped key": SAFE + ', "H\\u006fstConfig": {"Privile\\u0067ed": true}}',
    "a second HostConfig": SAFE + ', "HostConfig": {"Privileged": false}, "HostConfig": {"Privileged": true}}',
    "a second key in another case": SAFE + ', "HostConfig": {"Privileged": false, "privileged": true}}',
    "a second key": SAFE + ', "HostConfig": {"Privileged": false, "Privileged": true}}',
}
# Bodies that dockerd takes.
TAKEN: dict[str, Any] = {
    "CapAdd": host(CapAdd=["ALL"]),
    "CapAdd in another case": host(capadd=["ALL"]),
    "CgroupParent": host(CgroupParent="/attack"),
    "CgroupnsMode host": host(CgroupnsMode="host"),
    "UsernsMode host": host(UsernsMode="host"),
    "PidMode host": host(PidMode="host"),
    "IpcMode host": host(IpcMode="host"),
    "IpcMode shareable": host(IpcMode="shareable"),
    "UTSMode host": host(UTSMode="host"),
    "NetworkMode host": host(NetworkMode="host"),
    "NetworkMode of another's container": host(NetworkMode="container:attack-victim"),
    "PidMode of another's container": host(PidMode="container:attack-victim"),
    "IpcMode of another's container": host(IpcMode="container:attack-victim"),
    "VolumesFrom another's container": host(VolumesFrom=["attack-victim"]),
    "Links": host(NetworkMode="none", Links=["attack-victim:v"]),
    "MaskedPaths []": host(MaskedPaths=[]),
    "ReadonlyPaths []": host(ReadonlyPaths=[]),
    "MaskedPaths of one": host(MaskedPaths=["/nowhere"]),
    "Sysctls": host(NetworkMode="none", Sysctls={"net.ipv4.ip_forward": "1"}),
    "Runtime": host(Runtime="io.containerd.runc.v2"),
    "Annotations": host(Annotations={"org.systemd.property.X": "1"}),
    "Devices": host(Devices=[{"PathOnHost": "/dev/mem", "PathInContainer": "/dev/mem", "CgroupPermissions": "rwm"}]),
    "DeviceCgroupRules": host(DeviceCgroupRules=["c *:* rwm"]),
    "SecurityOpt seccomp": host(SecurityOpt=["seccomp=unconfined"]),
    "SecurityOpt by colon": host(SecurityOpt=["seccomp:unconfined"]),
    "SecurityOpt label": host(SecurityOpt=["label=disable"]),
    "SecurityOpt no-new-privileges": host(SecurityOpt=["no-new-privileges=false"]),
    "RestartPolicy": host(RestartPolicy={"Name": "always"}),
    "PidsLimit -1": host(PidsLimit=-1),
    "OomScoreAdj": host(OomScoreAdj=-1000),
    "LogConfig": host(LogConfig={"Type": "journald"}),
    "LogConfig without a bound": host(LogConfig={"Type": "json-file", "Config": {"max-size": "100g"}}),
    "Ulimits": host(Ulimits=[{"Name": "rtprio", "Soft": 99, "Hard": 99}]),
    "GroupAdd": host(GroupAdd=["0"]),
    "Binds with propagation": host(Binds=["/home/ann:/x:shared"]),
    "Binds relabelled": host(Binds=["/home/ann:/x:Z"]),
    "a volume": host(Binds=["attack-volume:/x"]),
    "an anonymous volume": IMAGE | {"Volumes": {"/x": {}}},
    "a mount of a volume of the root": mount(
        Type="volume",
        Source="attack-root",
        VolumeOptions={"DriverConfig": {"Options": {"type": "none", "o": "bind", "device": "/"}}},
    ),
    "a mount that propagates": mount(BindOptions={"Propagation": "rshared"}),
    "a mount that makes its source": mount(Source="/home/ann/attack-made", BindOptions={"CreateMountpoint": True}),
    "VolumeOptions of a bind in another case": mount(Source="attack-volume", type="volume"),
    "User root": IMAGE | {"User": "0"},
    "User root by name": IMAGE | {"User": "root"},
    "User in another case": IMAGE | {"user": "0:0"},
    "group root": IMAGE | {"User": "1001:0"},
    "Healthcheck": IMAGE | {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000_000}},
    "Labels of another job": IMAGE | {"Labels": {"slurm-hooks.job": "1-0-00000000"}},
    "Labels in another case": IMAGE | {"Labels": {"Slurm-Hooks.Job": "1-0-00000000"}},
    "ExposedPorts published": host(NetworkMode="none", PortBindings={"1/tcp": [{"HostPort": "22"}]}),
    "Dns": host(Dns=["192.0.2.9"]),
    "NetworkingConfig": IMAGE | {"NetworkingConfig": {"EndpointsConfig": {"host": {}}}},
    "an unknown key": IMAGE | {"Attack": True},
    "StorageOpt": host(StorageOpt={}, attack=1),
}
# What this dockerd itself does not take, and another one might.
ELSEWHERE: dict[str, Any] = {
    "trailing JSON": json.dumps(IMAGE) + json.dumps(host(Privileged=True)),
    "a mount of an image": mount(Type="image", Source="img"),
    "a cluster volume": mount(Type="cluster", Source="x"),
    "SecurityOpt disable": host(SecurityOpt=["disable"]),
    "SecurityOpt writable-cgroups": host(SecurityOpt=["writable-cgroups=true"]),
    "keys with dashes": IMAGE | {"Host-Config": {"Privileged": True}},
    "keys with underscores": IMAGE | {"host_config": {"privileged": True}},
    "WorkingDir of a descriptor": IMAGE | {"WorkingDir": "/proc/self/fd/7"},
    "WorkingDir that climbs": IMAGE | {"WorkingDir": "/tmp/../proc/self/fd/7"},
    "a target in /proc": mount(Target="/proc/sys"),
    "a target in //proc": mount(Target="//proc/sys"),
    "a tmpfs on //dev": host(Tmpfs={"//dev": ""}),
    "WorkingDir of a descriptor, two slashes": IMAGE | {"WorkingDir": "//proc/self/fd/7"},
    "a tmpfs on /proc": host(Tmpfs={"/proc": ""}),
    "tmpfs with suid": host(Tmpfs={"/x": "suid,dev"}),
    "a NUL in a source": mount(Source="/home/ann\0/etc"),
    "a number for a list": host(CapDrop=0),
    "an overflow": host(PidsLimit=2**64),
    "a list for the body": [IMAGE],
    "deep nesting": SAFE + ', "Labels": ' + '{"a":' * 3000 + "1" + "}" * 3001,
    "UTF-16": "\ufeff" + json.dumps(IMAGE),
    "DeviceRequests": host(DeviceRequests=[{"Count": -1, "Capabilities": [["gpu"]]}]),
}
BODIES = PRIVILEGED | TAKEN | ELSEWHERE
NUMBERS = {name: f"attack-{number}" for number, name in enumerate(BODIES)}
CASES: dict[str, Parts] = {name: [create(NUMBERS[name], body)] for name, body in BODIES.items()}
CLEAN = """docker ps -aq --filter name=attack- | xargs -r docker rm -fv >/dev/null
docker volume rm attack-volume attack-root >/dev/null 2>&1; rm -rf /home/ann/attack-made; true"""


@pytest.fixture(scope="module")
def answers(cluster: Cluster) -> dict[str, Said]:
    """Every body, sent from one job to the broker; last, how many containers the job then has."""
    counted: dict[str, Parts] = {"count": ["GET /containers/json?all=1 HTTP/1.1\r\nHost: docker\r\n\r\n"]}
    return in_a_job(cluster, CASES | counted)


@pytest.fixture(scope="module")
def taken(cluster: Cluster) -> dict[str, Said]:
    """The same, sent by root to dockerd itself; and which of the containers are privileged."""
    docker = "export DOCKER_HOST=unix:///run/slurm-hooks-docker/docker.sock"
    cluster.must(cluster.node, f"{docker}\n{CLEAN}\ndocker create --name attack-victim --network none img")
    try:
        said = to_dockerd(cluster, {name: CASES[name] for name in (*PRIVILEGED, *TAKEN)})
        shown = "docker inspect -f '{{.Name}} {{.HostConfig.Privileged}}' $(docker ps -aq --filter name=attack-)"
        said["privileged"] = Said(cluster.must(cluster.node, f"{docker}\n{shown}"))
        return said
    finally:
        cluster.sh(cluster.node, f"{docker}\n{CLEAN}")


@pytest.mark.parametrize("name", BODIES)
def test_it_is_refused(answers: dict[str, Said], name: str) -> None:
    assert answers[name].statuses in ([400], [403]), answers[name]


@pytest.mark.parametrize("name", BODIES)
def test_the_refusal_is_one_line_of_words(answers: dict[str, Said], name: str) -> None:
    message = json.loads(answers[name].text.partition("\r\n\r\n")[2])["message"]
    assert ": " in message and "\n" not in message and len(message) < 1000, message


def test_no_container_came_of_any(answers: dict[str, Said]) -> None:
    assert answers["count"].text.endswith("\r\n\r\n[]\n"), answers["count"]


@pytest.mark.parametrize("name", [*PRIVILEGED, *TAKEN])
def test_dockerd_itself_takes_it(taken: dict[str, Said], name: str) -> None:
    assert taken[name].status == 201, taken[name]


@pytest.mark.parametrize("name", PRIVILEGED)
def test_dockerd_itself_gives_privilege(taken: dict[str, Said], name: str) -> None:
    assert f"/{NUMBERS[name]} true\n" in taken["privileged"].text
