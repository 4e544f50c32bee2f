# SPDX-License-Identifier: Apache-2.0
"""Every field of a create request has one owner, or none and is refused (design.md, "Every field has one owner")."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from slurm_hooks import knobs
from slurm_hooks.broker import model
from slurm_hooks.errors import Refused
from tests.unit.policy import JOB, SITE, cli, decide

SECURITY = "HostConfig.SecurityOpt:"
FIELDS = {
    *(name for name in model.Create.__struct_encode_fields__ if name != "HostConfig"),
    *(f"HostConfig.{name}" for name in model.HostConfig.__struct_encode_fields__ if name != "SecurityOpt"),
}
OWNED = [unit for knob in knobs.KNOBS.values() for unit in knob.OWNS]
UNOWNED = sorted(FIELDS - set(OWNED))
# A value for an unowned field whose model is not open to any.
TYPED: dict[str, Any] = {
    "HostConfig.Cgroup": "host",
    "HostConfig.CpusetCpus": "0-1",
    "HostConfig.CpusetMems": "0",
    "HostConfig.Isolation": "process",
    "HostConfig.OomKillDisable": True,
    "HostConfig.PortBindings": {"80/tcp": []},
    "HostConfig.PublishAllPorts": True,
    "HostConfig.Runtime": "io.containerd.evil.v1",
}


def with_unit(unit: str, value: Any) -> dict[str, Any]:
    """The docker CLI's own body with one field changed."""
    return cli(**{unit.replace(".", "_"): value})


def test_no_unit_has_two_owners() -> None:
    assert [unit for unit, owners in Counter(OWNED).items() if owners > 1] == []


def test_every_owned_unit_is_a_field_of_the_model() -> None:
    assert [unit for unit in OWNED if unit not in FIELDS and not unit.startswith(SECURITY)] == []


@pytest.mark.parametrize("unit", UNOWNED)
def test_a_field_without_an_owner_is_refused_by_its_flag(unit: str) -> None:
    with pytest.raises(Refused) as refusal:
        decide(with_unit(unit, TYPED.get(unit, 7)))
    assert refusal.value.what == model.flag(unit)


def test_a_security_option_without_an_owner_is_refused_by_its_flag() -> None:
    with pytest.raises(Refused, match=r"^--security-opt writable-cgroups: "):
        decide(cli(HostConfig_SecurityOpt=["writable-cgroups"]))


@pytest.mark.parametrize("name", knobs.KNOBS)
def test_a_knob_says_what_it_stops_and_what_it_costs(name: str) -> None:
    text = knobs.KNOBS[name].__doc__ or ""
    assert all(word in text for word in ("Stops:", "Costs:", "Docker:"))


@pytest.mark.parametrize("unit", [unit for unit in OWNED if unit in model.FLAGS])
def test_a_knob_names_the_flags_that_it_answers_for(unit: str) -> None:
    text = knobs.KNOBS[knobs.OWNERS[unit]].__doc__ or ""
    flags = [word for word in model.flag(unit).replace(",", " ").split() if word.startswith("-")]
    short = {"--env": "-e", "--workdir": "-w", "--health-cmd": "--health-"}
    assert all(flag in text or short.get(flag, flag) in text for flag in flags)


@pytest.mark.parametrize("name", knobs.KNOBS)
def test_a_knob_speaks_only_of_what_it_owns(name: str) -> None:
    knob = knobs.KNOBS[name]
    answer = knob.confine({"Image": "img"} if name == "images" else {}, JOB, SITE)
    assert set(answer.fields) <= set(knob.OWNS)
