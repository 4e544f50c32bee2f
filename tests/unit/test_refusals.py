# SPDX-License-Identifier: Apache-2.0
"""What is refused, and the one line that a user reads: tests/golden/refusals.txt is the catalogue.

The bodies are what docker CLI 28.2.2 sends for the command.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from slurm_hooks import knobs
from slurm_hooks.broker import model, routes
from slurm_hooks.broker.http1 import Request
from slurm_hooks.errors import BadRequest, HooksError, Refused, refused_by, with_help
from slurm_hooks.knobs import execs
from slurm_hooks.knobs.contract import Remap, Stage
from slurm_hooks.knobs.images import to_pull
from slurm_hooks.knobs.mounts import OWN_WAY, admit, for_working_directory
from slurm_hooks.settings import ContainerLimits, Mounts, Settings
from tests.unit.policy import JOB, ROOT, SITE, cli, decide, golden
from tests.unit.test_policy_rows import DENIED, changed

RAISED: set[tuple[str, int]] = set()  # (file, line) where the refusals of the catalogue come from

DEVICE = {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}
OWN_DEVICE = {"PathOnHost": "/dev/nvidia0", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}
GPU = {"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
FLAGS: dict[str, dict[str, Any]] = {
    "--privileged": {"HostConfig_Privileged": True},
    "--cap-add SYS_ADMIN": {"HostConfig_CapAdd": ["SYS_ADMIN"]},
    "--user 0": {"User": "0"},
    "--user 1": {"User": "1"},
    "--group-add 0": {"HostConfig_GroupAdd": ["0"]},
    "--pid=host": {"HostConfig_PidMode": "host"},
    "--pid=container:other": {"HostConfig_PidMode": "container:other"},
    "--ipc=host": {"HostConfig_IpcMode": "host"},
    "--uts=host": {"HostConfig_UTSMode": "host"},
    "--userns=host": {"HostConfig_UsernsMode": "host"},
    "--cgroup-parent=/": {"HostConfig_CgroupParent": "/"},
    "--cgroupns=host": {"HostConfig_CgroupnsMode": "host"},
    "--network host": {"HostConfig_NetworkMode": "host", "NetworkingConfig": {"EndpointsConfig": {}}},
    "--network container:other": {"HostConfig_NetworkMode": "container:other"},
    "--network mine": {"HostConfig_NetworkMode": "mine", "NetworkingConfig": {"EndpointsConfig": {"mine": {}}}},
    "--network none --network mine": {
        "HostConfig_NetworkMode": "none",
        "NetworkingConfig": {"EndpointsConfig": {"mine": {}}},
    },
    "--ip 10.0.0.1": {
        "NetworkingConfig": {"EndpointsConfig": {"default": {"IPAMConfig": {"IPv4Address": "10.0.0.1"}}}}
    },
    "-p 80:80": {"HostConfig_PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "80"}]}},
    "-P": {"HostConfig_PublishAllPorts": True},
    "--dns 1.1.1.1": {"HostConfig_Dns": ["1.1.1.1"]},
    "--add-host a:10.0.0.1": {"HostConfig_ExtraHosts": ["a:10.0.0.1"]},
    "--link other": {"HostConfig_Links": ["other"]},
    "--security-opt seccomp=unconfined": {"HostConfig_SecurityOpt": ["seccomp=unconfined"]},
    "--security-opt apparmor=unconfined": {"HostConfig_SecurityOpt": ["apparmor=unconfined"]},
    "--security-opt label=disable": {"HostConfig_SecurityOpt": ["label=disable"]},
    "--security-opt no-new-privileges=false": {"HostConfig_SecurityOpt": ["no-new-privileges=false"]},
    "--security-opt no-new-privileges (twice)": {"HostConfig_SecurityOpt": ["no-new-privileges"] * 2},
    "--security-opt systempaths=unconfined": {"HostConfig_MaskedPaths": [], "HostConfig_ReadonlyPaths": []},
    "--device /dev/fuse": {"HostConfig_Devices": [DEVICE]},
    "--device /dev/nvidia0:/w/x": {"HostConfig_Devices": [OWN_DEVICE | {"PathInContainer": "/w/x"}]},
    "--device /dev/nvidia0:/dev/x:m": {"HostConfig_Devices": [OWN_DEVICE | {"CgroupPermissions": "m"}]},
    "--device /dev/nvidia0:/dev/x --device /dev/nvidia2:/dev/x": {
        "HostConfig_Devices": [OWN_DEVICE, OWN_DEVICE | {"PathOnHost": "/dev/nvidia2"}]
    },
    "--device /dev/nvidia0 (with another key)": {"HostConfig_Devices": [OWN_DEVICE | {"Major": "8"}]},
    "--gpus 3": {"HostConfig_DeviceRequests": [GPU | {"Count": 3}]},
    "--gpus device=2": {"HostConfig_DeviceRequests": [GPU | {"Count": 0, "DeviceIDs": ["2"]}]},
    "--gpus device=0 (and a count)": {"HostConfig_DeviceRequests": [GPU | {"Count": 1, "DeviceIDs": ["0"]}]},
    "--gpus device=nvidia.com/gpu=all (of another driver)": {
        "HostConfig_DeviceRequests": [GPU | {"Count": 0, "Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]
    },
    "--gpus all (of another capability)": {"HostConfig_DeviceRequests": [GPU | {"Capabilities": [["tpu"]]}]},
    "--gpus all (with another key)": {"HostConfig_DeviceRequests": [GPU | {"Nodes": ["/dev/sda"]}]},
    "--device-cgroup-rule 'a *:* rwm'": {"HostConfig_DeviceCgroupRules": ["a *:* rwm"]},
    "--pids-limit -1": {"HostConfig_PidsLimit": -1},
    "--restart always": {"HostConfig_RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}},
    "--health-cmd true": {"Healthcheck": {"Test": ["CMD-SHELL", "true"]}},
    "--log-driver syslog": {"HostConfig_LogConfig": {"Type": "syslog", "Config": {}}},
    "--ulimit memlock=-1": {"HostConfig_Ulimits": [{"Name": "memlock", "Hard": -1, "Soft": -1}]},
    "--ulimit rtprio=9": {"HostConfig_Ulimits": [{"Name": "rtprio", "Hard": 9, "Soft": 9}]},
    "--ulimit nofile=20:10": {"HostConfig_Ulimits": [{"Name": "nofile", "Hard": 10, "Soft": 20}]},
    "--ulimit files=20": {"HostConfig_Ulimits": [{"Name": "files", "Hard": 20, "Soft": 20}]},
    "--ulimit nofile=1 --ulimit nofile=2": {"HostConfig_Ulimits": 2 * [{"Name": "nofile", "Hard": 2, "Soft": 2}]},
    "--sysctl net.ipv4.ip_forward=1": {"HostConfig_Sysctls": {"net.ipv4.ip_forward": "1"}},
    "--runtime runc": {"HostConfig_Runtime": "runc"},
    "--oom-score-adj -1000": {"HostConfig_OomScoreAdj": -1000},
    "--oom-kill-disable": {"HostConfig_OomKillDisable": True},
    "--memory -1": {"HostConfig_Memory": -1},
    "--cpus -1": {"HostConfig_NanoCpus": -1},
    "--memory-swap -1": {"HostConfig_Memory": 1 << 26, "HostConfig_MemorySwap": -1},
    "--shm-size 8g": {"HostConfig_ShmSize": 8 << 30},
    "--shm-size -1": {"HostConfig_ShmSize": -1},
    "--storage-opt size=1g": {"HostConfig_StorageOpt": {"size": "1g"}},
    "--annotation a=b": {"HostConfig_Annotations": {"a": "b"}},
    "--volumes-from other": {"HostConfig_VolumesFrom": ["other"]},
    "--volume-driver local": {"HostConfig_VolumeDriver": "local"},
    "-v vol:/x": {"HostConfig_Binds": ["vol:/x"]},
    "-v /x": {"Volumes": {"/x": {}}},
    "-v /home/u:/x:shared": {"HostConfig_Binds": ["/home/u:/x:shared"]},
    "-v /home/u:/x:Z": {"HostConfig_Binds": ["/home/u:/x:Z"]},
    "-v /home/u:/proc/x": {"HostConfig_Binds": ["/home/u:/proc/x"]},
    "-v /home/u:/x/../..": {"HostConfig_Binds": ["/home/u:/x/../.."]},
    "-v /a:/x -v /b:/x/": {"HostConfig_Binds": ["/a:/x", "/b:/x/"]},
    "-v /a:/b:ro:z": {"HostConfig_Binds": ["/a:/b:ro:z"]},
    "-v (65 times)": {"HostConfig_Binds": [f"/a:/b{number}" for number in range(65)]},
    "--mount type=bind,source=a,target=/x": {
        "HostConfig_Mounts": [{"Type": "bind", "Source": "a", "Target": "/x"}],
    },
    "--mount type=bind,source=/a": {"HostConfig_Mounts": [{"Type": "bind", "Source": "/a"}]},
    "--mount type=bind,source=/a,target=/x (BindOptions a string)": {
        "HostConfig_Mounts": [{"Type": "bind", "Source": "/a", "Target": "/x", "BindOptions": "rshared"}],
    },
    "--mount type=tmpfs,target=/x": {"HostConfig_Mounts": [{"Type": "tmpfs", "Target": "/x"}]},
    "--mount type=volume,target=/x": {"HostConfig_Mounts": [{"Type": "volume", "Target": "/x"}]},
    "--mount type=bind,source=/a,target=/x,bind-propagation=rshared": {
        "HostConfig_Mounts": [
            {"Type": "bind", "Source": "/a", "Target": "/x", "BindOptions": {"Propagation": "rshared"}}
        ]
    },
    "--mount type=bind,source=/a,target=/x,volume-driver=local": {
        "HostConfig_Mounts": [
            {"Type": "bind", "Source": "/a", "Target": "/x", "VolumeOptions": {"DriverConfig": {"Name": "local"}}}
        ]
    },
    "--tmpfs /proc/x": {"HostConfig_Tmpfs": {"/proc/x": ""}},
    "--tmpfs /x --tmpfs /x/": {"HostConfig_Tmpfs": {"/x": "", "/x/": "size=1m"}},
    "--tmpfs /x:suid": {"HostConfig_Tmpfs": {"/x": "suid"}},
    "--workdir /proc/self/fd/8": {"WorkingDir": "/proc/self/fd/8"},
    "--workdir relative": {"WorkingDir": "relative"},
    "--hostname 'a b'": {"Hostname": "a b"},
    "--label slurm-hooks.job=1": {"Labels": {"slurm-hooks.job": "1"}},
    "--stop-signal 'TERM now'": {"StopSignal": "TERM now"},
    "--stop-timeout -1": {"StopTimeout": -1},
    "--security-opt other=a": {"HostConfig_SecurityOpt": ["other=a"]},
    "-v /a:/x -v /b:/x/y": {"HostConfig_Binds": ["/a:/x", "/b:/x/y"]},
    "-v /a:/etc": {"HostConfig_Binds": ["/a:/etc"]},
}
WORDS: dict[str, dict[str, Any]] = {
    "docker run ' img'": {"Image": " img"},
    "docker run ''": {"Image": ""},
    "docker run -- --privileged": {"Image": "--privileged"},
    "docker run img (with 257 KiB of arguments)": {"Cmd": ["x" * (257 * 1024)]},
}
# In a site that bounds more than the program does.
OWN_SITE = Settings(
    container=ContainerLimits(pids=100, pids_max=200), mounts=Mounts(allow=("/home", "/scratch"), deny=("/home/admin",))
)
BOUNDED: dict[str, dict[str, Any]] = {
    "--pids-limit 201": {"HostConfig_PidsLimit": 201},
}
EXECS: dict[str, dict[str, Any]] = {
    "--privileged": {"Privileged": True},
    "--user 0": {"User": "0"},
    "--user 1": {"User": "1"},
    "--workdir /proc/1": {"WorkingDir": "/proc/1"},
}
COMMANDS: dict[str, tuple[str, str]] = {
    "docker build .": ("POST", "/build"),
    "docker buildx build .": ("POST", "/session"),
    "docker push img": ("POST", "/images/img/push"),
    "docker load": ("POST", "/images/load"),
    "docker tag img other": ("POST", "/images/img/tag"),
    "docker rmi img": ("DELETE", "/images/img"),
    "docker save img": ("GET", "/images/get"),
    "docker commit c": ("POST", "/commit"),
    "docker cp c:/x .": ("GET", "/containers/c/archive"),
    "docker cp x c:/": ("PUT", "/containers/c/archive"),
    "docker export c": ("GET", "/containers/c/export"),
    "docker update c": ("POST", "/containers/c/update"),
    "docker network prune": ("POST", "/networks/prune"),
    "docker network create n": ("POST", "/networks/create"),
    "docker volume create": ("POST", "/volumes/create"),
    "docker swarm init": ("POST", "/swarm/init"),
    "docker service ls": ("GET", "/services"),
    "docker plugin ls": ("GET", "/plugins"),
    "docker search img": ("GET", "/images/search"),
    "docker system df": ("GET", "/system/df"),
}
SITE_OF_PULLS = msgspec.convert(
    {"images": {"registries": ["reg.site:5000"], "allow": ["reg.site:5000/tools/*"]}}, Settings
)
PULLS: dict[str, tuple[str, str, Settings]] = {
    "docker pull img   (no registry)": ("img", "latest", SITE),
    "docker pull img": ("img", "latest", SITE_OF_PULLS),
    "docker pull elsewhere:5000/tools/x": ("elsewhere:5000/tools/x", "latest", SITE_OF_PULLS),
    "docker pull reg.site:5000/other/x": ("reg.site:5000/other/x", "latest", SITE_OF_PULLS),
    "docker pull reg.site:5000/tools/x:-": ("reg.site:5000/tools/x", "-", SITE_OF_PULLS),
    "docker pull -a reg.site:5000/tools/x": ("reg.site:5000/tools/x", "", SITE_OF_PULLS),
}
QUERIES: dict[str, tuple[str, str, dict[str, str]]] = {
    "docker start --checkpoint x c": ("POST", "/containers/c/start", {"checkpoint": "x"}),
    "docker rm --link c": ("DELETE", "/containers/c", {"link": "1"}),
    "docker run --name 'a b' img": ("POST", "/containers/create", {"name": "a b"}),
}
PLACES = {
    "/etc": "directory",
    "/": "directory",
    "/var": "directory",
    "/run/docker.sock": "socket",
    "/home/u/pipe": "pipe",
    "/usr/bin/sudo": "file",
    "/proc/1/environ": "file",
    "/var/lib/slurm-hooks-docker/overlay2": "directory",
}


ROOT_SITE = Settings(container=ContainerLimits(root="remap"))
ROOT_INSIDE: tuple[tuple[str, Remap | None, dict[str, Any]], ...] = (
    ("--user 0", None, {"User": "0"}),
    ("--user 0 --group-add 2000", Remap(100_000, 100_000), {"User": "0", "HostConfig_GroupAdd": ["2000"]}),
)


def refused(act: Callable[[], Any]) -> HooksError:
    """What an act is refused with; where it was raised is kept for the last test."""
    with pytest.raises(HooksError) as refusal:
        act()
    frame = refusal.traceback[-1]
    RAISED.add((Path(frame.path).name, frame.lineno + 1))
    return refusal.value


def of_flag(flag: str) -> str:
    return str(refused(lambda: decide(cli(**FLAGS[flag]))))


def of_words(words: str) -> str:
    return str(refused(lambda: decide(cli(**WORDS[words]))))


def of_command(command: str) -> str:
    method, path = COMMANDS[command]
    return str(refused(lambda: routes.find(Request(method, (1, 44), path))))


def of_query(command: str) -> str:
    method, path, query = QUERIES[command]
    return str(refused(lambda: routes.find(Request(method, (1, 44), path, query))))


def of_exec(flag: str) -> str:
    wanted = model.decode(json.dumps(EXECS[flag]).encode(), model.ExecCreate)
    return str(refused(lambda: execs.create(wanted, f"{JOB.uid}:{JOB.gid}")))


def of_pull(command: str) -> str:
    image, tag, site = PULLS[command]
    return str(refused(lambda: to_pull(image, tag, site)))


def of_place(path: str) -> str:
    stage = decide(cli(HostConfig_Binds=[f"{path}:/x"])).stages[0]
    why = admit(stage, path, PLACES[path], 1001)
    assert why, f"{path} may be mounted"
    return str(Refused(f"-v {path}", why, OWN_WAY))


def catalogue() -> list[str]:
    """Every refusal, below the command that meets it."""
    lines = [f"docker run {flag} img\n    {of_flag(flag)}" for flag in FLAGS]
    # What the policy's rows deny, as it is typed where it has a flag, and by its field where it has none.
    denied = {unit: refused(lambda unit=unit: decide(changed(unit, DENIED[unit]))) for unit in DENIED}  # type: ignore[misc]
    told = "\n".join(lines)
    lines += [f"docker run {error.what} img\n    {error}" for error in denied.values() if str(error) not in told]
    lines += [f"{words}\n    {of_words(words)}" for words in WORDS]
    lines += [f"docker run -v {path}:/x img   (a {kind})\n    {of_place(path)}" for path, kind in PLACES.items()]
    for flag, change in BOUNDED.items():
        error = refused(lambda change=change: decide(cli(**change), OWN_SITE))  # type: ignore[misc]
        lines.append(f"docker run {flag} img   (where the site bounds it)\n    {error}")
    for flag, remapped, change in ROOT_INSIDE:
        job = replace(JOB, remapped=remapped)
        error = refused(lambda job=job, change=change: decide(cli(**change), ROOT_SITE, job))  # type: ignore[misc]
        lines.append(f"docker run {flag} img   (where the site lets jobs be root inside)\n    {error}")
    for path in ("/data", "/home/admin/x", "/home"):
        stage = decide(cli(HostConfig_Binds=[f"{path}:/x"]), OWN_SITE).stages[0]
        error = Refused(f"-v {path}", admit(stage, path, "directory", 1001), OWN_WAY)
        lines.append(f"docker run -v {path}:/x img   (where the site allows /home, /scratch)\n    {error}")
    lines += [f"docker exec {flag} c true\n    {of_exec(flag)}" for flag in EXECS]
    lines += [f"{command}\n    {of_command(command)}" for command in COMMANDS]
    lines += [f"{command}\n    {of_pull(command)}" for command in PULLS]
    return lines + [f"{command}\n    {of_query(command)}" for command in QUERIES]


def test_the_catalogue_of_refusals() -> None:
    golden("refusals.txt", "\n".join(catalogue()) + "\n")


def test_the_catalogue_is_whole() -> None:
    catalogue()
    for path in [*(ROOT / "slurm_hooks" / "knobs").glob("*.py"), ROOT / "slurm_hooks" / "broker" / "routes.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and "Refused" in ast.dump(node):
                lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                assert any((path.name, line) in RAISED for line in lines), f"{path}:{node.lineno} is not in it"


def test_each_refusal_says_what_why_and_what_to_do() -> None:
    for entry in catalogue():
        said = entry.partition("\n    ")[2]
        if "given twice" in said or "is not a tag" in said or "not a value" in said or "not a name of an image" in said:
            continue  # of a form that no client sends by itself
        assert re.fullmatch(r"[^\n]+?: [^\n]+\. [A-Z`][^\n]+", said), said


@pytest.mark.parametrize("words", ["executable file not found", "no such file or directory", "permission denied"])
def test_no_refusal_changes_the_exit_status_of_docker_run(words: str) -> None:
    # The CLI looks for these words in an error of create or start and then exits 127 or 126, not 125 (docker/cli,
    # cli/command/container/run.go, toStatusError).
    assert words not in "".join(catalogue())


@pytest.mark.parametrize(
    ("field", "value", "by"),
    [
        ("HostConfig_Privileged", True, "capabilities"),  # denied by a row
        ("HostConfig_CapAdd", ["ALL"], "capabilities"),
        ("User", "0", "identity"),  # refused by the knob itself
        ("HostConfig_PidsLimit", 10**6, "pids"),
        ("HostConfig_Binds", ["/etc:/etc"], "mounts"),
        ("HostConfig_Binds", ["/home:/a", "/home:/a/b"], "mounts"),  # refused by two together
        ("HostConfig_NetworkMode", "host", "network"),
    ],
)
def test_who_refused_is_known_by_name(field: str, value: Any, by: str) -> None:
    refusal = refused(lambda: decide(cli(**{field: value})))
    assert isinstance(refusal, Refused) and refusal.by == by and refusal.by in knobs.KNOBS


def test_who_refused_is_named_where_it_is_known_best() -> None:
    with pytest.raises(Refused) as seen, refused_by("create"), refused_by("mounts"):
        raise Refused("-v /etc", "a place of the node", "Leave it out.")
    assert seen.value.by == "mounts" and str(seen.value) == "-v /etc: a place of the node. Leave it out."
    with pytest.raises(BadRequest), refused_by("create"):
        raise BadRequest("request", "no")


def test_the_sites_own_sentence_ends_a_refusal_and_nothing_else() -> None:
    refusal = refused(lambda: decide(cli(HostConfig_Privileged=True)))
    assert with_help(refusal, "Ask help@site.example.").endswith("do not need it. Ask help@site.example.")
    assert with_help(refusal, "") == str(refusal)
    assert with_help(BadRequest("request", "the head is longer than 16 KiB"), "Ask.") == (
        "request: the head is longer than 16 KiB"
    )


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_is_refused_in_one_line_that_names_it(flag: str) -> None:
    line = of_flag(flag)
    assert "\n" not in line
    assert flag.split()[0].partition("=")[0] in line


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_refused_in_one_line(command: str) -> None:
    assert "\n" not in of_command(command)


@pytest.mark.parametrize("path", PLACES)
def test_a_place_of_the_nodes_own_is_not_mounted(path: str) -> None:
    assert of_place(path).startswith(f"-v {path}: ")


@pytest.mark.parametrize("path", ["/home/u", "/scratch/u/in", "/etcetera", "/var/tmp/u", "/tmp", "/runs"])
def test_a_place_of_the_users_own_is_mounted(path: str) -> None:
    stage = decide(cli(HostConfig_Binds=[f"{path}:/x"])).stages[0]
    assert admit(stage, path, "directory", 1001) == ""


def test_what_a_user_typed_cannot_forge_a_second_line() -> None:
    with pytest.raises(Refused) as refusal:
        decide(cli(HostConfig_NetworkMode="a\nslurm-hooks: job 1: all is well \x1b[2J\u202e"))
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    ("directory", "demanded"),
    [("/w", None), ("/other", None), ("", None), ("/w/sub", 1001), ("/w/a/b", 1001)],
    ids=["the mount itself", "elsewhere", "none", "below", "deep below"],
)
def test_a_working_directory_below_a_mount_wants_the_users_own_mounts(directory: str, demanded: int | None) -> None:
    writable, readonly = (Stage(f"/{x}", f"/{x}", readonly=x == "r", denied=()) for x in "wr")
    first, second = for_working_directory((writable, readonly), directory, 1001)
    assert (first.owner, second.owner) == (demanded, None)
    assert bool(admit(first, "/home/other", "directory", 1002)) == (demanded is not None)
    assert admit(first, "/home/mine", "directory", 1001) == ""
