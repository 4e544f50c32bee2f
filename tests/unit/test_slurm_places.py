# SPDX-License-Identifier: Apache-2.0
"""Where each Slurm release puts a job's cgroup, on trees as they lie on nodes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slurm_hooks import linux
from slurm_hooks.cgroups import slurm
from slurm_hooks.errors import BadEnvironment, NodeFault
from tests.unit.policy import ROOT

OUTSIDE = "0::/system.slice/slurmd.service/slurmd"  # where slurmd runs a Prolog
SLUID = "s8G5M22WGXB100"
DEBIAN = "/system.slice/cn1_slurmstepd.scope"  # built with --enable-multiple-slurmd


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cgroup mount point, and a pid 1 that systemd put into /init.scope."""
    pid_one_in("/init.scope", monkeypatch)
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


def pid_one_in(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc/1/cgroup cannot be had otherwise in this process: the one reading that is put into its place."""
    read = linux.read
    monkeypatch.setattr(linux, "read", lambda file: f"0::{path}\n" if file == "/proc/1/cgroup" else read(file))


def v2(mount: Path, *scopes: str) -> str:
    """A v2 tree with these directories; the mount point as the code takes it."""
    (mount / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    for scope in scopes:
        (mount / scope).mkdir(parents=True)
    return str(mount)


def place(mount: str, **other: str) -> slurm.Place:
    return slurm.place(mount, job=12, uid=1001, node="cn1", **{"own": OUTSIDE, **other})


# -- v2 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        (["system.slice/slurmstepd.scope"], "/system.slice/slurmstepd.scope"),
        ([DEBIAN[1:]], DEBIAN),
        (["system.slice/cn2_slurmstepd.scope", DEBIAN[1:]], DEBIAN),
        (["system.slice/slurmstepd.scope", DEBIAN[1:]], DEBIAN),
        (["hpc.slice/slurmstepd.scope", "user.slice"], "/hpc.slice/slurmstepd.scope"),
        (["a.slice/slurmstepd.scope", "system.slice/slurmstepd.scope"], "/system.slice/slurmstepd.scope"),
    ],
    ids=["Rocky", "Debian: --enable-multiple-slurmd", "two slurmds on a machine", "after a change of the build",
         "CgroupSlice=hpc.slice", "the default slice first"],
)  # fmt: skip
def test_the_scope_is_found(mount: Path, scopes: list[str], expected: str) -> None:
    found = place(v2(mount, *scopes))
    assert (found.version, found.root, found.path) == (2, expected, f"{expected}/job_12")


def test_a_slurmd_in_a_container_counts_from_its_pid_1(mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_one_in("/docker/abc/init.scope", monkeypatch)
    inner, outer = "docker/abc/system.slice/slurmstepd.scope", "system.slice/slurmstepd.scope"
    assert place(v2(mount, inner, outer)).path == f"/{inner}/job_12"


def test_a_slurmd_in_a_container_with_a_cgroup_namespace_sees_a_root(
    mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_one_in("/", monkeypatch)
    assert place(v2(mount, "system.slice/slurmstepd.scope")).path == "/system.slice/slurmstepd.scope/job_12"


def test_the_place_of_a_slurm_before_23_02_in_a_container_is_found_too(
    mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_one_in("/docker/abc", monkeypatch)
    assert place(v2(mount, "system.slice/slurmstepd.scope")).root == "/system.slice/slurmstepd.scope"


@pytest.mark.parametrize(
    "others", [[], ["system.slice"], ["system.slice/cn11_slurmstepd.scope"], ["cn1_slurmstepd.scope"]]
)
def test_no_scope_is_a_fault_of_the_node(mount: Path, others: list[str]) -> None:
    with pytest.raises(NodeFault, match=r"no cn1_slurmstepd.scope and no slurmstepd.scope"):
        place(v2(mount, *others))


@pytest.mark.parametrize("step", ["step_0/user/task_0", "step_extern/slurm", "step_batch/user/task_special"])
def test_a_hook_inside_the_job_reads_where_it_is(mount: Path, step: str) -> None:
    root = "/system.slice/slurmstepd.scope"
    found = place(v2(mount, root[1:]), own=f"0::{root}/{SLUID}/{step}")
    assert (found.root, found.path) == (root, f"{root}/{SLUID}")


@pytest.mark.parametrize(
    "own", ["0::/system.slice/slurmstepd.scope/system", "0::/elsewhere/job_99/step_0/user", "0::/"]
)  # fmt: skip
def test_a_hook_elsewhere_is_not_taken_for_one_inside(mount: Path, own: str) -> None:
    assert place(v2(mount, "system.slice/slurmstepd.scope"), own=own).path.endswith("/job_12")


# -- SLUID: a real process that a real executable named slurmd stands beside ----------------------

ASK = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from slurm_hooks import config
config.RUN = sys.argv[1]
from slurm_hooks.cgroups import slurm
print(slurm.release(), slurm.named_by_sluid(sys.argv[2]))
"""


def asked(tmp_path: Path, version: str, conf: str = "") -> str:
    """What a hook thinks whose parent lies beside a slurmd of that version."""
    daemon = tmp_path / "sbin" / "slurmd"
    shell = daemon.with_name("sh")
    if not shell.exists():
        daemon.parent.mkdir()
        shutil.copy("/bin/sh", shell)
    daemon.write_text(f"#!/bin/sh\necho '{version}'\n")
    daemon.chmod(0o755)
    (tmp_path / "etc").mkdir(exist_ok=True)
    (tmp_path / "etc" / "cgroup.conf").write_text(conf)
    (tmp_path / "ask.py").write_text(ASK)
    line = f'"{sys.executable}" "{tmp_path}/ask.py" "{tmp_path}/run" "{tmp_path}/etc/slurm.conf"; :'
    return subprocess.run([shell, "-c", line], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("version", "conf", "expected"),
    [
        ("slurm-wlm 24.11.5", "", "(24, 11) False"),
        ("slurm 25.11.8", "", "(25, 11) False"),
        ("slurm 26.05.4", "", "(26, 5) True"),
        ("slurm-wlm 26.05.5", "CgroupPlugin=cgroup/v2\n", "(26, 5) True"),
        ("slurm 26.05.4", "CgroupJobIdPaths=yes\n", "(26, 5) False"),
        ("slurm 26.05.4", "# CgroupJobIdPaths=yes\n", "(26, 5) True"),
        ("slurm 26.05.4", " cgroupjobidpaths = YES # as before\n", "(26, 5) False"),
        ("slurm 26.05.4", "CgroupJobIdPaths=no\n", "(26, 5) True"),
        ("slurm 27.02.0", "", "(27, 2) True"),
        ("no idea", "", "(0, 0) False"),
    ],
)
def test_a_job_is_named_by_sluid_from_26_05_on(tmp_path: Path, version: str, conf: str, expected: str) -> None:
    assert asked(tmp_path, version, conf) == expected


def test_the_release_is_asked_again_after_an_upgrade(tmp_path: Path) -> None:
    assert asked(tmp_path, "slurm 25.11.8").startswith("(25, 11)")
    assert asked(tmp_path, "slurm 26.05.4").startswith("(26, 5)")


def test_a_sluid_without_need_is_not_used(mount: Path) -> None:
    # 25.11 sets SLURM_JOB_SLUID already; here no slurmd says that it is 26.05.
    assert place(v2(mount, "system.slice/slurmstepd.scope"), sluid=SLUID).path.endswith("/job_12")


# -- v1 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("directories", "expected"),
    [
        (["freezer/slurm"], "/slurm"),
        (["freezer/slurm_cn1", "memory/slurm_cn1"], "/slurm_cn1"),
        (["memory/slurm"], "/slurm"),
        (["cpuset/slurm_cn1"], "/slurm_cn1"),
        (["freezer/slurm", "freezer/slurm_cn1"], "/slurm_cn1"),
        (["pids/slurm", "freezer"], "/slurm_cn1"),
        (["freezer"], "/slurm_cn1"),
    ],
    ids=["Rocky", "Debian", "no freezer", "cpuset only", "both", "our own hierarchy tells nothing",
         "before the first job"],
)  # fmt: skip
def test_the_root_of_v1_is_found(mount: Path, directories: list[str], expected: str) -> None:
    for directory in directories:
        (mount / directory).mkdir(parents=True)
    found = place(str(mount))
    assert (found.version, found.root, found.path) == (1, expected, f"{expected}/uid_1001/job_12")


def test_the_unified_tree_beside_v1_does_not_make_it_v2(mount: Path) -> None:
    (mount / "unified").mkdir()
    v2(mount / "unified", "system.slice")
    (mount / "freezer" / "slurm").mkdir(parents=True)
    assert place(str(mount), own="6:freezer:/\n0::/").version == 1


# -- the environment that slurmd hands over --------------------------------------------------------


def test_the_environment_names_the_place(mount: Path) -> None:
    environ = {"SLURM_JOB_ID": "7", "SLURM_JOB_UID": "65534", "SLURMD_NODENAME": "cn1"}
    (mount / "freezer" / "slurm_cn1").mkdir(parents=True)
    assert slurm.place_of(environ, str(mount)).path == "/slurm_cn1/uid_65534/job_7"


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "SLURM_JOB_UID", "SLURMD_NODENAME", "SLURM_JOB_SLUID"])
@pytest.mark.parametrize("value", ["../../..", "a/b", "x\n", "a b"])
def test_no_path_comes_in_by_the_environment(mount: Path, name: str, value: str) -> None:
    environ = {"SLURM_JOB_ID": "7", "SLURM_JOB_UID": "1", "SLURMD_NODENAME": "cn1", name: value}
    with pytest.raises(BadEnvironment, match=name):
        slurm.place_of(environ, str(mount))
