# SPDX-License-Identifier: Apache-2.0
"""The policy at its edges: what a change of one character would let through, or refuse without need."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from slurm_hooks import knobs
from slurm_hooks.broker import routes
from slurm_hooks.broker.http1 import Request
from slurm_hooks.broker.model import ExecCreate, ExecStart
from slurm_hooks.errors import BadRequest, Refused
from slurm_hooks.knobs import execs, images, rootfs
from slurm_hooks.linux import Mount
from slurm_hooks.settings import Settings
from tests.unit.policy import JOB, cli, decide, sent
from tests.unit.test_verify import ASKED, GOOD, HOST, verify

SITE = msgspec.convert({"images": {"registries": ["a.site:1", "b.site"], "allow": ["*"]}}, Settings)
OWN_TOPS = [f"{top}{rest}" for top in ("/proc", "/sys", "/dev") for rest in ("", "/x")]


@pytest.mark.parametrize("path", OWN_TOPS)
def test_a_program_starts_in_none_of_the_kernels_directories(path: str) -> None:
    with pytest.raises(Refused, match="does not start in"):
        decide(cli(WorkingDir=path))


@pytest.mark.parametrize("path", ["w", "./w", "/w/..", "/a/../b", ".."])
def test_a_working_directory_is_written_out(path: str) -> None:
    with pytest.raises(Refused, match="not an absolute path"):
        decide(cli(WorkingDir=path))


@pytest.mark.parametrize(
    ("path", "clean"), [("//w", "/w"), ("/w/", "/w"), ("/w/./x", "/w/x"), ("/procedure", "/procedure")]
)
def test_a_working_directory_is_cleaned(path: str, clean: str) -> None:
    assert sent(cli(WorkingDir=path))["WorkingDir"] == clean


@pytest.mark.parametrize("target", ["b", "/b/..", "/a/../b", "/", "//", "/."])
@pytest.mark.parametrize("way", ["HostConfig_Binds", "HostConfig_Mounts", "HostConfig_Tmpfs"])
def test_a_target_is_written_out_and_below_the_root(way: str, target: str) -> None:
    wish: dict[str, Any] = {
        "HostConfig_Binds": [f"/a:{target}"],
        "HostConfig_Mounts": [{"Type": "bind", "Source": "/a", "Target": target}],
        "HostConfig_Tmpfs": {target: ""},
    }
    with pytest.raises((Refused, BadRequest)):
        decide(cli(**{way: wish[way]}))


@pytest.mark.parametrize("propagation", ["", "rprivate", "private"])
def test_a_mount_that_does_not_propagate_may_say_so(propagation: str) -> None:
    mount = {"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"Propagation": propagation}}
    assert decide(cli(HostConfig_Mounts=[mount])).stages[0].target == "/b"


def test_a_refused_mount_names_itself() -> None:
    with pytest.raises(Refused) as refusal:
        decide(cli(HostConfig_Mounts=[{"Type": "bind", "Source": "/a", "Target": "/proc/x"}]))
    assert refusal.value.what == "--mount target=/proc/x"


@pytest.mark.parametrize("volume", ["//v", "/v/", "/v"])
def test_a_volume_of_the_image_becomes_a_tmpfs_at_its_clean_place(volume: str) -> None:
    assert set(rootfs.scratch(set(), [volume], readonly=False)) == {"/v"}


def test_what_says_no_restart_and_no_healthcheck_passes() -> None:
    for policy in ({}, {"Name": ""}, {"Name": "no"}, {"Name": "no", "MaximumRetryCount": 0}):
        assert sent(cli(HostConfig_RestartPolicy=policy))["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert sent(cli(Healthcheck={"Test": ["NONE"]}))["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.parametrize("seconds", [1, 300])
def test_a_stop_may_take_from_one_second_to_five_minutes(seconds: int) -> None:
    assert sent(cli(StopTimeout=seconds))["StopTimeout"] == seconds


@pytest.mark.parametrize("seconds", [-1, 301])
def test_a_stop_takes_no_other_time(seconds: int) -> None:
    with pytest.raises(Refused, match="--stop-timeout"):
        decide(cli(StopTimeout=seconds))


@pytest.mark.parametrize(
    ("name", "words"),
    [("pid", "process ids"), ("ipc", "IPC"), ("uts", "host name"), ("mnt", "mounts")],
)
def test_a_namespace_that_is_the_nodes_is_told_by_its_name(name: str, words: str) -> None:
    assert verify(namespaces={**GOOD.namespaces, name: HOST[name]}) == [f"namespaces: it shares the node's {words}"]


def test_options_of_a_mount_may_be_more_and_not_less() -> None:
    root, sys, _ = GOOD.mounts

    def with_options(options: str) -> list[str]:
        return verify(mounts=(root, sys, Mount("8:1", "/home/u/data", "/data", options, "ext4")))

    assert not [wrong for wrong in with_options("nosuid,nodev") if "nosuid" in wrong]
    assert with_options("ro,nodev")
    assert knobs.verify(GOOD, JOB, ASKED) == []


# -- exec ------------------------------------------------------------------------------------------


def test_an_exec_says_outright_that_it_is_not_privileged() -> None:
    made = execs.create(ExecCreate(cmd=["id"]), "1001:1002")
    assert made["Privileged"] is False
    assert (made["User"], made["Cmd"], made["Env"], made["DetachKeys"]) == ("1001:1002", ["id"], [], "")
    assert "ConsoleSize" not in made and "WorkingDir" not in made


@pytest.mark.parametrize("size", [[24, 80], [0, 65535], [1, 0]])
def test_a_terminals_size_passes(size: list[int]) -> None:
    assert execs.start(ExecStart(console_size=size))["ConsoleSize"] == size


@pytest.mark.parametrize("size", [None, [], [0, 0]])
def test_no_size_is_none(size: list[int] | None) -> None:
    assert "ConsoleSize" not in execs.start(ExecStart(console_size=size))


@pytest.mark.parametrize("size", [[24], [24, 80, 1], [-1, 80], [24, 65536]])
def test_what_is_no_size_of_a_terminal_is_refused(size: list[int]) -> None:
    with pytest.raises(BadRequest, match="ConsoleSize: not the height and width of a terminal"):
        execs.start(ExecStart(console_size=size))


# -- images and queries ----------------------------------------------------------------------------


def test_a_pull_is_by_tag_or_by_digest() -> None:
    digest = f"sha256:{'a' * 64}"
    by_digest = images.to_pull("a.site:1/x:old", digest, SITE)
    assert (by_digest.tag, by_digest.digest) == ("", digest)
    by_tag = images.to_pull(f"a.site:1/x@{digest}", "new", SITE)
    assert (by_tag.tag, by_tag.digest) == ("new", "")


def test_a_refused_registry_is_told_with_those_that_are_not() -> None:
    with pytest.raises(Refused) as refusal:
        images.refuse_registry("docker pull c.site/x", "c.site", SITE)
    assert refusal.value.why == "c.site is not a registry for jobs here (a.site:1, b.site)"
    with pytest.raises(Refused) as refusal:
        images.refuse_registry("docker pull c.site/x", "c.site", Settings())
    assert refusal.value.why == "c.site is not a registry for jobs here (none)"


def test_a_parameter_that_says_nothing_hides_none_behind_it() -> None:
    with pytest.raises(BadRequest, match="tail"):
        routes.find(Request("GET", None, "/containers/x/logs", {"unknown": "0", "tail": "x"}))
    found = routes.find(Request("GET", None, "/containers/x/logs", {"unknown": "", "tail": "all", "follow": ""}))
    assert found.query == {"tail": "all"}


def test_a_route_without_a_name_has_none() -> None:
    assert routes.find(Request("GET", None, "/containers/json")).name == ""
