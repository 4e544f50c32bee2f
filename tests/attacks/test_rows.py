# SPDX-License-Identifier: Apache-2.0
"""An attack for each line of the policy: what `slurm-hooks policy` says is denied, capped or forced, on a real node.

The wishes are those of tests/unit/test_policy_rows.py, which has one for every line. Here a job's user sends them, and
root sends the same to dockerd itself: what that takes, or records otherwise, shows that the attack is one.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.attacks.wire import BROKER, Parts, Said, create, in_a_job, script, to_dockerd
from tests.cluster.slurm import Cluster
from tests.unit.policy import cli
from tests.unit.test_policy_rows import CAPPED, DENIED, DENIED_PARTS, FORCED, MOUNT, changed

pytestmark = pytest.mark.anywhere  # of requests: the same on every kernel

HOME = "/home/ann"
OTHER = "attack-other"  # a container that dockerd has


def here(body: dict[str, Any]) -> dict[str, Any]:
    """A body that dockerd would take: its mounts name a directory that there is, and it is not of --rm."""
    host = body["HostConfig"]
    host["AutoRemove"] = False  # it excludes a restart policy
    for mount in host.get("Mounts") or []:
        for kind in ("volume", "image", "tmpfs", "cluster"):  # options are for mounts of their kind alone
            if mount.get(f"{kind.title()}Options"):
                mount["Type"] = kind
        if mount.get("Type") == "tmpfs":
            del mount["Source"]
        if mount.get("Type") == "volume":
            mount["Source"] = "attack-volume"
    host["SecurityOpt"] = [opt.replace("disable=true", "disable") for opt in host.get("SecurityOpt") or []] or None
    for name in ("Links", "VolumesFrom"):
        host[name] = [OTHER for _ in host.get(name) or []] or None
    text = json.dumps(body).replace('"Source": "/a"', f'"Source": "{HOME}"').replace('"/a:', f'"{HOME}:')
    made: dict[str, Any] = json.loads(text)
    return made


REFUSED: dict[str, dict[str, Any]] = {
    **{unit: here(changed(unit, wish)) for unit, wish in DENIED.items()},
    **{unit: here(cli(**fields)) for unit, fields in DENIED_PARTS.items()},
    **{f"{unit}, above": here(cli(**above)) for unit, (_, above) in CAPPED.items()},
}
FORCES: dict[str, dict[str, Any]] = {
    f"{unit} {json.dumps(wish)}": here(changed(unit, wish)) for unit, wishes in FORCED.items() for wish in wishes
}
PLAIN = {"nothing asked": here(cli()), "a mount": here(cli(HostConfig_Mounts=[MOUNT]))}
NAMES = {name: f"attack-{number}" for number, name in enumerate([*REFUSED, *FORCES, *PLAIN])}


def cases(bodies: dict[str, dict[str, Any]]) -> dict[str, Parts]:
    return {name: [create(NAMES[name], body)] for name, body in bodies.items()}


# What no dockerd of the labs acts on, with its own words, a pattern: another platform, storage, kernel or release does.
ELSEWHERE = {
    "HostConfig.IOMaximumBandwidth": "linux does not support configuration of maximum bandwidth"  # Windows
    "|QoS maximum bandwidth configuration is not supported on linux",  # so from moby 28 on
    "HostConfig.IOMaximumIOps": "linux does not support configuration of maximum IOPs"
    "|QoS maximum IOPs configuration is not supported on linux",
    "HostConfig.Isolation": "linux only supports 'default'",
    "HostConfig.StorageOpt": "supported only for overlay over xfs with 'pquota' mount option",
    "HostConfig.SecurityOpt:writable-cgroups": "invalid --security-opt",  # moby 28.2
    "HostConfig.Mounts[].ImageOptions": "mount type unknown|invalid reference format",  # moby 28, with an image's name
    "HostConfig.Mounts[].ClusterOptions": "mount type unknown",  # a node of a swarm
    "HostConfig.CpuRealtimePeriod": "kernel does not support",  # one without CONFIG_RT_GROUP_SCHED
    "HostConfig.CpuRealtimeRuntime": "kernel does not support",
}
CLEAN = "docker ps -aq --filter name=attack- | xargs -r docker rm -fv >/dev/null"
DOCKERD = "export DOCKER_HOST=unix:///run/slurm-hooks-docker/docker.sock"


def records(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """What dockerd recorded of each container, by the names of the attacks; read on the node, by root."""
    inspect = "docker ps -aq --filter name=attack- | xargs -r docker inspect"
    said = json.loads(cluster.must(cluster.node, f"{DOCKERD}\n{inspect}") or "[]")
    by_number = {one["Name"].rpartition("attack-")[2]: one for one in said}
    return {name: by_number[n] for name, made in NAMES.items() if (n := made.removeprefix("attack-")) in by_number}


def held(record: dict[str, Any], unit: str) -> Any:
    """What a record has for a unit."""
    if unit.startswith("HostConfig.SecurityOpt:"):
        return record["HostConfig"]["SecurityOpt"]
    if unit.startswith("HostConfig.Mounts[]."):
        value = record["HostConfig"]["Mounts"][0]
        for name in unit.removeprefix("HostConfig.Mounts[].").split("."):
            value = (value or {}).get(name)
        return value
    name = unit.removeprefix("HostConfig.")
    return record["Config"].get(name) if name == unit else record["HostConfig"].get(name)


@pytest.fixture(scope="module")
def answers(cluster: Cluster) -> dict[str, Said]:
    """What a job's user is told."""
    return in_a_job(cluster, cases(REFUSED))


@pytest.fixture(scope="module")
def made(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """What dockerd has recorded of all that a job's user got."""
    job = cluster.sbatch(f"{script(BROKER, cases(FORCES | PLAIN))}\necho sent; sleep 600", options="--mem=300")
    try:
        job.wait_for_output("sent")
        return records(cluster)
    finally:
        job.cancel()
        job.wait()


@pytest.fixture(scope="module")
def direct(cluster: Cluster) -> tuple[dict[str, Said], dict[str, dict[str, Any]]]:
    """The same at dockerd itself: its answers, and what it has recorded."""
    try:
        cluster.must(cluster.node, f"{DOCKERD}\ndocker create --name {OTHER} img")
        said = to_dockerd(cluster, cases(REFUSED | FORCES))
        return said, records(cluster)
    finally:
        cluster.sh(cluster.node, f"{DOCKERD}\n{CLEAN}")


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(answers: dict[str, Said], name: str) -> None:
    assert answers[name].statuses in ([400], [403]), answers[name]


@pytest.mark.parametrize("name", REFUSED)
def test_dockerd_itself_would_act_on_it(direct: tuple[dict[str, Said], dict[str, dict[str, Any]]], name: str) -> None:
    said = direct[0][name]
    assert said.status == 201 or (name in ELSEWHERE and re.search(ELSEWHERE[name], said.text)), said


@pytest.mark.parametrize("unit", FORCED)
def test_whatever_was_asked_dockerd_has_recorded_the_same(made: dict[str, dict[str, Any]], unit: str) -> None:
    expected = held(made["a mount" if "[]" in unit else "nothing asked"], unit)
    for name in (name for name in made if name.startswith(f"{unit} ")):
        assert held(made[name], unit) == expected, name


# Of UsernsMode dockerd takes no other word than the one that is forced, so there is no other to be recorded.
@pytest.mark.parametrize("unit", [unit for unit in FORCED if unit != "HostConfig.UsernsMode"])
def test_dockerd_itself_records_what_was_asked(
    made: dict[str, dict[str, Any]], direct: tuple[dict[str, Said], dict[str, dict[str, Any]]], unit: str
) -> None:
    ours = held(made["a mount" if "[]" in unit else "nothing asked"], unit)
    theirs = [held(record, unit) for name, record in direct[1].items() if name.startswith(f"{unit} ")]
    assert any(value != ours for value in theirs), theirs
