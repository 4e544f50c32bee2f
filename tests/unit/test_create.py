# SPDX-License-Identifier: Apache-2.0
"""What becomes of a create request: the body that dockerd gets, field by field in tests/golden/."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slurm_hooks.errors import Refused
from slurm_hooks.knobs import resources, seccomp
from slurm_hooks.knobs.contract import Stage
from slurm_hooks.settings import ContainerLimits, Mounts, Settings
from tests.unit.policy import JOB, cli, decide, golden, sent


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [("cli-run", "create-default.json"), ("cli-run-rich", "create-rich.json")],
    ids=["docker run --rm img true", "docker run with -i -v -w -e --name --entrypoint --memory --user --label"],
)
def test_a_request_of_the_docker_cli_becomes_our_own(request_body: str, expected: str) -> None:
    body = json.dumps(sent(cli(request_body)), indent=2)
    golden(expected, body.replace(json.dumps(seccomp.PROFILES["allow"])[1:-1], "<the profile>") + "\n")


def test_a_request_of_docker_py_with_nulls_is_taken() -> None:
    # docker-py sends only what was given, and null for the rest.
    body = (
        b'{"Image":"img","Cmd":["true"],"Volumes":null,"Labels":null,"HostConfig":{"NetworkMode":"none","Binds":null}}'
    )
    assert sent(body)["HostConfig"]["NetworkMode"] == "none"


def test_a_bind_mount_is_staged_and_not_passed() -> None:
    decision = decide(cli("cli-run-rich"))
    assert [(stage.source, stage.target, stage.readonly) for stage in decision.stages] == [
        ("/home/u/data", "/data", True)
    ]
    host = decision.body({"/data": "/stage/0"})["HostConfig"]
    assert "/home/u/data" not in json.dumps(host)
    assert host["Mounts"][0]["Source"] == "/stage/0"


def test_a_mount_option_is_a_bind_mount_too() -> None:
    mount = {"Type": "bind", "Source": "/scratch/u", "Target": "/in/", "ReadOnly": True}
    assert decide(cli(HostConfig_Mounts=[mount])).stages == (
        Stage("/scratch/u", "/in", readonly=True, denied=("/var/lib/slurm-hooks-docker",)),
    )


def test_what_the_site_denies_goes_with_the_stage() -> None:
    site = Settings(mounts=Settings().mounts.__class__(deny=("/scratch/secret",)))
    stage = decide(cli(HostConfig_Binds=["/a:/b"]), site).stages[0]
    assert "/scratch/secret" in stage.denied


@pytest.mark.parametrize("noexec", [True, False])
def test_the_site_says_whether_programs_on_a_mount_run(noexec: bool) -> None:  # noqa: FBT001
    mount = {"Type": "bind", "Source": "/a", "Target": "/b"}
    site = Settings(mounts=Mounts(noexec=noexec))
    body = cli(HostConfig_Binds=["/c:/d:ro"], HostConfig_Mounts=[mount])
    assert [stage.noexec for stage in decide(body, site).stages] == [noexec, noexec]


@pytest.mark.parametrize("option", ["rw", "cached", "delegated", "consistent", "rprivate", "rw,cached"])
def test_a_harmless_mount_option_changes_nothing(option: str) -> None:
    assert decide(cli(HostConfig_Binds=[f"/a:/b:{option}"])).stages[0].readonly is False


def test_a_read_only_root_has_writable_scratch_places() -> None:
    assert set(sent(cli())["HostConfig"]["Tmpfs"]) == {"/tmp", "/var/tmp", "/run"}


@pytest.mark.parametrize(
    "change",
    [{"HostConfig_Binds": ["/home/u/tmp:/tmp"]}, {"HostConfig_Tmpfs": {"/tmp": "size=1m"}}],
    ids=["-v", "--tmpfs"],
)
def test_a_scratch_place_gives_way_to_what_the_user_mounts_there(change: dict[str, Any]) -> None:
    host = sent(cli(**change))["HostConfig"]
    mounted = [mount["Target"] for mount in host["Mounts"]] + list(host["Tmpfs"])
    assert mounted.count("/tmp") == 1


def test_a_tmpfs_keeps_its_size_and_gets_our_options() -> None:
    tmpfs = sent(cli(HostConfig_Tmpfs={"/x": "size=1m,exec"}))["HostConfig"]["Tmpfs"]
    assert tmpfs["/x"] == "size=1m,exec,rw,nosuid,nodev"


@pytest.mark.parametrize("target", ["/", "/proc/x", "/sys", "/dev/shm/../x", "/a/../.."])
def test_a_tmpfs_goes_where_a_bind_mount_may_go(target: str) -> None:
    with pytest.raises(Refused, match=r"^--tmpfs "):
        decide(cli(HostConfig_Tmpfs={target: ""}))


def test_a_tmpfs_over_a_scratch_place_takes_it_however_it_is_written() -> None:
    tmpfs = sent(cli(HostConfig_Tmpfs={"/tmp/": "size=1m"}))["HostConfig"]["Tmpfs"]
    assert set(tmpfs) == {"/tmp", "/var/tmp", "/run"}


def test_a_site_may_open_the_root() -> None:
    site = Settings(container=ContainerLimits(readonly_root=False))
    host = sent(cli(), site)["HostConfig"]
    assert (host["ReadonlyRootfs"], host["Tmpfs"]) == (False, {})


@pytest.mark.parametrize("user", ["", "1001", "1001:1002"])
def test_the_own_user_may_be_named(user: str) -> None:
    assert sent(cli(User=user))["User"] == "1001:1002"


@pytest.mark.parametrize("user", ["0", "root", "0:0", "1001:0", "1001:1002:", " 1001", "01001", "+1001", "1001:2000"])
def test_no_other_user_may_be_named(user: str) -> None:
    with pytest.raises(Refused, match=r"^--user "):
        decide(cli(User=user))


def test_supplementary_groups_are_those_of_the_asker() -> None:
    assert sent(cli())["HostConfig"]["GroupAdd"] == ["2000"]


@pytest.mark.parametrize("limit", [1, 512, 1024])
def test_a_pids_limit_up_to_the_sites_is_taken(limit: int) -> None:
    assert sent(cli(HostConfig_PidsLimit=limit))["HostConfig"]["PidsLimit"] == limit


@pytest.mark.parametrize("limit", [-1, 1025, 2**63, -(2**70)])
def test_a_pids_limit_beyond_the_sites_is_refused(limit: int) -> None:
    with pytest.raises(Refused, match=r"^--pids-limit "):
        decide(cli(HostConfig_PidsLimit=limit))


def test_memory_is_never_swapped_out_beyond_itself() -> None:
    host = sent(cli(HostConfig_Memory=2**26))["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (2**26, 2**26)


def bounds(**asked: Any) -> tuple[Any, ...]:
    """What dockerd is asked of memory, swap, reservation, shares and processors."""
    host = sent(cli(**{f"HostConfig_{name}": value for name, value in asked.items()}))["HostConfig"]
    return tuple(host.get(name) for name in ("Memory", "MemorySwap", "MemoryReservation", "CpuShares", "NanoCpus"))


def test_memory_and_cpu_are_the_jobs_where_nobody_asks() -> None:
    assert bounds() == (4 << 30, 4 << 30, None, 1024, None)


def test_who_asks_for_less_gets_less_and_who_asks_for_more_than_the_job_has_gets_the_jobs() -> None:
    assert bounds(Memory=2**26, CpuShares=2) == (2**26, 2**26, None, 2, None)
    assert bounds(Memory=9 << 30, MemorySwap=9 << 30, NanoCpus=2**30) == (4 << 30, 4 << 30, None, None, 2**30)


def test_a_reservation_is_never_above_the_memory_which_dockerd_would_refuse() -> None:
    assert bounds(MemoryReservation=9 << 30)[:3] == (4 << 30, 4 << 30, 4 << 30)
    assert bounds(MemoryReservation=2**26, Memory=2**27)[:3] == (2**27, 2**27, 2**26)


@pytest.mark.parametrize(
    ("warning", "asked", "told"),
    [
        ("Your kernel does not support swap limit capabilities or the cgroup is not mounted. …", (), False),
        ("Your kernel does not support memory limit capabilities or the cgroup is not mounted. …", (), False),
        ("Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.", (), False),
        ("Your kernel does not support swap limit capabilities …", ("HostConfig.Memory",), True),
        ("Your kernel does not support CPU shares …", ("HostConfig.CpuShares",), True),
        ("Your kernel does not support pids limit capabilities …", (), True),
        ("The requested image's platform (linux/arm64) does not match", (), True),
    ],
)
def test_dockerd_complains_to_the_user_of_what_the_user_asked_for_alone(
    warning: str, asked: tuple[str, ...], told: object
) -> None:
    assert resources.unasked(warning, dict.fromkeys(asked, 1)) is not told


def test_our_labels_are_added_to_the_users() -> None:
    assert sent(cli(Labels={"stage": "one"}))["Labels"] == {
        "stage": "one",
        "slurm-hooks.job": JOB.key,
        "slurm-hooks.nonce": JOB.nonce,
    }


def test_exposed_ports_are_dropped_since_no_network_is_there() -> None:
    assert "ExposedPorts" not in sent(cli(ExposedPorts={"80/tcp": {}}))


@pytest.mark.parametrize("option", ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"])
def test_no_new_privileges_may_be_asked_for(option: str) -> None:
    assert sent(cli(HostConfig_SecurityOpt=[option])) == sent(cli())


def test_the_log_may_be_switched_off() -> None:
    none = {"Type": "none", "Config": {}}
    assert sent(cli(HostConfig_LogConfig=none))["HostConfig"]["LogConfig"] == none


def test_the_logs_two_files_hold_what_the_site_allows() -> None:
    config = sent(cli())["HostConfig"]["LogConfig"]["Config"]
    assert int(config["max-size"].removesuffix("k")) * int(config["max-file"]) == 16 * 1024
