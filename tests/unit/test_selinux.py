# SPDX-License-Identifier: Apache-2.0
"""SELinux: a type of our own and a level of the job's, asked for and read back where the kernel has it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_hooks import knobs
from slurm_hooks.broker import model, readback
from slurm_hooks.errors import NodeFault
from slurm_hooks.knobs import selinux
from tests.unit.policy import JOB, ROOT, SITE, cli
from tests.unit.test_verify import GOOD

OURS = replace(JOB, lsm="selinux", profiles=frozenset({"slurm-hooks"}))
LEVEL = selinux.level(JOB.id)


def test_a_module_counts_that_is_in_the_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readback, "SELINUX_STORES", str(tmp_path))
    monkeypatch.setattr(readback, "_read", lambda path: "# x\nSELINUX=enforcing\nSELINUXTYPE=default")
    assert readback.profiles("selinux") == frozenset()
    for place in ("100/base", "100/docker", "400/slurm-hooks", "disabled/docker"):
        (tmp_path / "default/active/modules" / place).mkdir(parents=True)
    assert readback.profiles("selinux") == {"base", "slurm-hooks"}


def test_type_and_level_are_asked_for_where_the_kernel_has_selinux() -> None:
    create = model.decode(json.dumps(cli()).encode(), model.Create)
    options = knobs.decide(create, OURS, SITE).body({})["HostConfig"]["SecurityOpt"]
    assert options[-2:] == ["label=type:slurm_container_t", f"label=level:{LEVEL}"]
    assert selinux.confine({}, JOB, SITE).fields == {}


def test_nothing_starts_where_the_policy_lacks_the_module() -> None:
    with pytest.raises(NodeFault, match="its kernel has SELinux, and its policy not the module slurm-hooks"):
        selinux.confine({}, replace(OURS, profiles=frozenset()), SITE)


def test_the_module_is_of_the_type_that_is_asked_for() -> None:
    assert f"(type {selinux.TYPE})" in (ROOT / "etc/selinux" / f"{selinux.MODULE}.cil").read_text()


def categories(job: int) -> tuple[int, int]:
    lower, upper = selinux.level(job).removeprefix("s0:c").split(",c")
    return int(lower), int(upper)


def test_each_pair_of_categories_is_some_jobs() -> None:
    assert {categories(job) for job in range(selinux.PAIRS)} == {(a, b) for b in range(1024) for a in range(b)}


@given(st.integers(0, 2**32), st.integers(1, selinux.PAIRS - 1))
def test_two_jobs_share_a_level_only_when_their_ids_are_far_apart(job: int, further: int) -> None:
    assert selinux.level(job) != selinux.level(job + further)
    assert selinux.level(job) == selinux.level(job + selinux.PAIRS)


@pytest.mark.parametrize(
    "label",
    [
        "",
        "system_u:system_r:container_t:s0:c1,c2",
        "system_u:system_r:slurm_container_t:s0",
        f"system_u:system_r:slurm_container_t:{selinux.level(JOB.id + 1)}",
        f"system_u:system_r:spc_t:{LEVEL}",
        f"unconfined_u:unconfined_r:unconfined_t:{LEVEL}",
    ],
)
def test_another_label_is_told(label: str) -> None:
    assert len(selinux.verify(replace(GOOD, lsm="selinux", label=label), OURS, {})) == 1


def test_the_label_that_was_asked_for_is_none() -> None:
    label = f"system_u:system_r:slurm_container_t:{LEVEL}"
    assert selinux.verify(replace(GOOD, lsm="selinux", label=label), OURS, {}) == []
    assert selinux.verify(replace(GOOD, lsm="", label=""), OURS, {}) == []
