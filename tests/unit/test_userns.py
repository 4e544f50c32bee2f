# SPDX-License-Identifier: Apache-2.0
"""Root that is nobody outside: who may be it, what dockerd is asked, and what the kernel must then say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from slurm_hooks import explain, knobs, linux
from slurm_hooks.broker import remap as whom
from slurm_hooks.broker.model import ExecCreate
from slurm_hooks.errors import Refused
from slurm_hooks.knobs import execs, identity, seccomp, ulimits, userns
from slurm_hooks.knobs.contract import Remap, Seen
from slurm_hooks.settings import ContainerLimits, PartitionContainer, PartitionLimits, Settings
from tests.unit.policy import JOB, cli, decide
from tests.unit.test_explain import read
from tests.unit.test_verify import DATA, GOOD, OWN, ROOT, STATUS, SYS

SITE = Settings(container=ContainerLimits(root="remap"))
REMAP = Remap(231_072, 231_072)
WHO = replace(JOB, remapped=REMAP)
ASKED = dict(decide(cli("cli-run-rich", User="0"), SITE, WHO).fields)
MAPS = ("         0     231072      65536\n",) * 2
INSIDE: Seen = replace(
    GOOD,
    status={**STATUS, "Uid": "231072\t" * 4, "Gid": "231072\t" * 4, "Groups": "231072"},
    namespaces={**OWN, "user": "user:[4026532999]"},
    mounts=(ROOT, SYS, type(DATA)("8:1", "/home/u/data", "/data", "ro,nosuid,nodev,idmapped", "ext4")),
    id_maps=MAPS,
)


@pytest.mark.parametrize("user", identity.ROOTS)
def test_whoever_asks_for_root_is_root_inside_without_groups_and_without_power(user: str) -> None:
    fields = decide(cli(User=user), SITE, WHO).fields
    assert (fields["User"], fields["HostConfig.GroupAdd"], fields[userns.MODE]) == ("0:0", [], "")
    assert fields["HostConfig.CapDrop"] == ["ALL"] and fields["HostConfig.Privileged"] is False


def test_whoever_does_not_is_the_jobs_user_among_the_nodes() -> None:
    for site, job in ((SITE, WHO), (SITE, JOB), (Settings(), JOB)):
        fields = decide(cli(), site, job).fields
        assert (fields["User"], fields[userns.MODE]) == ("1001:1002", "host")


@pytest.mark.parametrize(("site", "job"), [(Settings(), WHO), (SITE, JOB)], ids=["the site", "dockerd"])
def test_no_root_is_sent_unless_both_the_site_and_dockerd_remap_it(site: Settings, job: Any) -> None:
    with pytest.raises(Refused) as refusal:
        decide(cli(User="0"), site, job)
    assert refusal.value.by == "identity"


def test_a_user_chooses_no_user_namespace_with_root_inside_either() -> None:
    with pytest.raises(Refused, match="--userns=host"):
        decide(cli(User="0", HostConfig_UsernsMode="host"), SITE, WHO)


def test_a_partition_has_a_word_of_its_own() -> None:
    site = Settings(partition={"a": PartitionLimits(container=PartitionContainer(root="remap"))})
    assert (site.of_partition("a").container.root, site.of_partition("b").container.root) == ("remap", "refuse")


def test_root_inside_has_nothing_that_counts_on_the_nodes_root() -> None:
    profile = json.loads(ASKED[seccomp.UNIT])
    ours = json.loads(seccomp.PROFILES["allow"])
    assert set(ours["syscalls"][0]["names"]) - set(profile["syscalls"][0]["names"]) == set(seccomp.OF_MAKER)
    limits = {one["Name"]: one["Hard"] for one in ASKED[ulimits.UNIT]}
    assert (limits["msgqueue"], limits["sigpending"]) == (0, 64)
    with pytest.raises(Refused, match="sigpending"):
        decide(cli(User="0", HostConfig_Ulimits=[{"Name": "sigpending", "Soft": 65, "Hard": 65}]), SITE, WHO)


# -- what dockerd says of itself -------------------------------------------------------------------

INFO = {"SecurityOptions": ["name=seccomp", "name=userns"], "DockerRootDir": "/var/lib/d/231072.231073"}


@pytest.mark.parametrize(
    ("changes", "remap"),
    [
        ({}, Remap(231_072, 231_073)),
        ({"SecurityOptions": ["name=seccomp"]}, None),
        ({"SecurityOptions": None}, None),
        ({"DockerRootDir": "/var/lib/docker"}, None),
        ({"DockerRootDir": "/var/lib/231072.231072/docker"}, None),
        ({"DockerRootDir": ""}, None),
    ],
)
def test_whom_root_becomes_is_read_from_the_data_root(changes: dict[str, Any], remap: Remap | None) -> None:
    assert userns.remap_of(INFO | changes) == remap


def test_a_container_of_another_data_root_is_none_that_is_remapped() -> None:
    assert userns.holds(REMAP, "/var/lib/d/231072.231072/overlay2/x/merged")
    assert not any(userns.holds(REMAP, f"/var/lib/d/{where}overlay2/x/merged") for where in ("", "100000.231072/"))
    assert not userns.holds(REMAP, "")


@pytest.mark.parametrize(
    ("remap", "lowest", "names", "words"),
    [
        (REMAP, (100_000, 100_000), ("", ""), ""),
        (Remap(1000, 231_072), (100_000, 100_000), ("", ""), "where the node's own users may be"),
        (Remap(231_072, 65_534), (1, 1), ("", ""), "where the node's own users may be"),
        (REMAP, (300_000, 100_000), ("", ""), "where the node's own users may be"),
        (REMAP, (100_000, 100_000), ("ann", ""), "which is ann on the node"),
        (REMAP, (100_000, 100_000), ("", "staff"), "which is staff on the node"),
    ],
)
def test_root_becomes_nobody_who_is_somebody(
    remap: Remap, lowest: tuple[int, int], names: tuple[str, str], words: str
) -> None:
    said = userns.admit(remap, lowest, *names)
    assert words in said and bool(said) == bool(words)


# -- what the kernel says --------------------------------------------------------------------------


def test_root_inside_as_it_was_asked_for_differs_in_nothing() -> None:
    assert knobs.verify(INSIDE, WHO, ASKED) == []


def maps(text: str) -> dict[str, Any]:
    return {"id_maps": (text, MAPS[1])}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": {**INSIDE.status, "Uid": "0\t0\t0\t0"}}, "identity: uid is 0 0 0 0, not 231072"),
        ({"status": {**INSIDE.status, "Uid": "231072\t231072\t0\t231072"}}, "identity: uid"),
        ({"status": {**INSIDE.status, "Gid": "1002\t1002\t1002\t1002"}}, "identity: gid"),
        ({"status": {**INSIDE.status, "Groups": "231072 1002"}}, "identity: groups"),
        ({"namespaces": GOOD.namespaces}, "userns: root inside is root of the node's"),
        (maps("0 0 4294967295"), "userns: its uid_map"),
        (maps("0 1000 65536"), "userns: its uid_map"),
        (maps("0 231073 65536"), "userns: its uid_map"),
        (maps("1 231072 65536"), "userns: its uid_map"),
        (maps("0 231072 1\n1 0 1"), "userns: its uid_map"),
        (maps(""), "userns: its uid_map"),
        ({"id_maps": (MAPS[0], "0 0 1")}, "userns: its gid_map"),
        ({"mounts": (ROOT, SYS, DATA)}, "userns: /data is not idmapped"),
    ],
)
def test_what_differs_is_told(changes: dict[str, Any], words: str) -> None:
    found = knobs.verify(replace(INSIDE, **changes), WHO, ASKED)
    assert len(found) == 1 and found[0].startswith(words), found


def test_the_jobs_own_user_is_not_in_the_range() -> None:
    remap = Remap(65_536, 65_536)
    seen = replace(
        INSIDE, id_maps=("0 65536 65536",) * 2, status={**INSIDE.status, "Uid": "65536 " * 4, "Gid": "65536 " * 4}
    )
    seen = replace(seen, status={**seen.status, "Groups": "65536"})
    assert knobs.verify(seen, replace(WHO, remapped=remap), ASKED) == []
    found = knobs.verify(seen, replace(WHO, uid=70_000, remapped=remap), ASKED)
    assert len(found) == 1 and "uid_map" in found[0]


def test_without_knowing_the_remapped_root_nothing_is_well() -> None:
    assert {wrong.partition(":")[0] for wrong in knobs.verify(INSIDE, JOB, ASKED)} == {"identity", "userns"}


def test_root_inside_where_nobody_asked_for_it_is_told() -> None:
    plain = dict(decide(cli("cli-run-rich")).fields)
    assert any(wrong.startswith("userns: it is in a user namespace") for wrong in knobs.verify(INSIDE, WHO, plain))


# -- exec, explain ---------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [None, "", *identity.ROOTS])
def test_an_exec_is_root_where_its_container_is(user: str | None) -> None:
    assert execs.create(ExecCreate(user=user, cmd=["id"]), identity.ROOT)["User"] == "0:0"


@pytest.mark.parametrize("user", ["1001", "1001:1002", "nobody", "0:1"])
def test_and_nobody_else(user: str) -> None:
    with pytest.raises(Refused, match="as root, as its container does"):
        execs.create(ExecCreate(user=user, cmd=["id"]), identity.ROOT)


def told(line: str) -> dict[str, str]:
    return {one.what: one.action for one in explain.explain(read(line), WHO, SITE)}


def test_explain_says_that_only_the_launch_can_know_whether_dockerd_remaps() -> None:
    said = told("docker run --user 0 img")
    assert said["--user 0"] == "later" and "refused" not in said.values()
    assert not [what for what in said if what.startswith(("--userns", "--group-add"))]
    assert told("docker exec --user 0 c id")["--user 0"] == "forced"
    assert told("docker run --user 1 img")["--user 1"] == "refused"


@pytest.mark.parametrize(
    ("text", "lowest"),
    [
        ("", (100_000, 100_000)),
        ("SUB_UID_MIN\t300000\nSUB_GID_MIN 200000\n", (300_000, 200_000)),
        ("#SUB_UID_MIN 5\nSUB_UID_COUNT 7\n", (100_000, 100_000)),
    ],
)
def test_the_lowest_ids_are_those_of_login_defs(
    text: str, lowest: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux, "read", lambda path: {"/etc/login.defs": text}[path])
    assert whom._lowest() == lowest
