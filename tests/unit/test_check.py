# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks check` names each choice of the site that weakens a promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm_hooks import check
from slurm_hooks.settings import ContainerLimits, Mounts, Settings
from tests.unit.test_settings import site

ROOT = Path(__file__).parents[2]
PID_MAX = 32_768
WEAK = {
    "[job] pids = 16385 ": "[job]\npids = 16385",
    "[partition.a] pids = 20000 ": "[partition.a]\npids = 20000",
    "[job] slurm_reserve = 0": "[job]\nslurm_reserve = 0",
    "[container] readonly_root = false": "[container]\nreadonly_root = false",
    "[partition.a.container] readonly_root = false": "[partition.a.container]\nreadonly_root = false",
    "[container] number = 257": "[container]\nnumber = 257",
    "[container] number times log_megabytes is 640 GiB": "[container]\nlog_megabytes = 10240",
    "[docker] socket = /run/docker.sock": "[docker]\nsocket = '/run/docker.sock'",
}


@pytest.mark.parametrize(("what", "text"), WEAK.items())
def test_a_choice_that_weakens_a_promise_is_named(what: str, text: str) -> None:
    (finding,) = check.choices(site(text), PID_MAX)
    assert finding.level == "weak"
    assert finding.what.startswith(what)
    assert ": " in finding.what and finding.mend


def test_the_defaults_weaken_nothing() -> None:
    assert list(check.choices(Settings(), PID_MAX)) == []


def test_a_choice_of_the_site_is_told_once_for_all_partitions() -> None:
    found = list(check.choices(site("[container]\nreadonly_root = false\n[partition.a]\n[partition.b]"), PID_MAX))
    assert [finding.what.partition(" ")[0] for finding in found] == ["[container]"]


@pytest.mark.parametrize("setting", ["allow", "deny"])
def test_a_place_that_is_a_link_holds_nothing_and_is_named(tmp_path: Path, setting: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    mounts = Mounts(**{setting: (str(tmp_path / "link"), str(tmp_path / "real"))})
    (finding,) = check.places(Settings(mounts=mounts, container=ContainerLimits()))
    assert finding.level == "wrong"
    assert finding.what == f"mounts.{setting} names {tmp_path}/link, which leads to {tmp_path}/real: it holds nothing"


AS_IT_MUST_BE = {
    "Prolog[0]": "/none", "Prolog[1]": f"{ROOT}/etc/slurm/prolog.d/*", "Epilog[0]": f"{ROOT}/etc/slurm/epilog.d/*",
    "TaskProlog": f"{ROOT}/etc/slurm/task_prolog.sh", "TaskEpilog": f"{ROOT}/etc/slurm/task_epilog.sh",
    "ProctrackType": "proctrack/cgroup", "TaskPlugin": "task/affinity,task/cgroup", "PrologFlags": "Alloc,Contain",
    "PrologEpilogTimeout": "65534",
}  # fmt: skip


def test_a_slurm_that_runs_the_hooks_is_well() -> None:
    assert list(check.slurm(AS_IT_MUST_BE, 0)) == []


@pytest.mark.parametrize(
    ("name", "value", "level", "what"),
    [
        ("Prolog[1]", "(null)", "wrong", "no Prolog of slurm.conf runs slurm-hooks"),
        ("Epilog[0]", "/etc/hostname", "wrong", "no Epilog of slurm.conf runs slurm-hooks"),
        ("TaskProlog", "(null)", "weak", "no TaskProlog"),
        ("TaskEpilog", "(null)", "weak", "no TaskEpilog"),
        ("ProctrackType", "proctrack/linuxproc", "wrong", "ProctrackType is not proctrack/cgroup"),
        ("TaskPlugin", "task/affinity", "wrong", "TaskPlugin is not task/cgroup"),
        ("PrologFlags", "X11", "weak", "PrologFlags is without"),
        ("PrologEpilogTimeout", "91", "weak", "PrologEpilogTimeout = 91: "),
        ("EpilogTimeout", "60 sec", "weak", "EpilogTimeout = 60: "),
    ],
)
def test_a_slurm_that_does_not_is_named(name: str, value: str, level: str, what: str) -> None:
    (finding,) = check.slurm(AS_IT_MUST_BE | {name: value}, 0)
    assert (finding.level, finding.what.startswith(what)) == (level, True), finding
    assert finding.mend


def test_the_epilogs_time_has_the_grace_on_top() -> None:
    (finding,) = check.slurm(AS_IT_MUST_BE | {"EpilogTimeout": "100"}, 30)
    assert "143" in finding.mend


def test_a_script_of_the_sites_that_calls_ours_is_ours(tmp_path: Path) -> None:
    (tmp_path / "prolog").write_text("#!/bin/sh\n/usr/lib/site/check && exec /usr/lib/slurm-hooks/prolog\n")
    (finding,) = check.slurm(AS_IT_MUST_BE | {"Prolog[1]": f"{tmp_path}/prolog"}, 0)
    assert finding.what.startswith("no Prolog")  # not executable
    (tmp_path / "prolog").chmod(0o755)
    assert list(check.slurm(AS_IT_MUST_BE | {"Prolog[1]": f"{tmp_path}/prolog"}, 0)) == []
