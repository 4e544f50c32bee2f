# SPDX-License-Identifier: Apache-2.0
"""The list of system calls and the profile that is made of it; what the kernel does: tests/attacks/test_syscalls.py."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_hooks.knobs import seccomp
from slurm_hooks.knobs.syscalls import ABSENT, CLOSED, IN_PART, OPEN, Argument, within
from tests.unit.policy import ROOT, cli, decide
from tests.unit.test_settings import site

KERNELS = {line.split()[1] for line in (ROOT / "tests/data/syscalls-x86_64.txt").read_text().splitlines()}
PROFILE: dict[str, Any] = json.loads(seccomp.PROFILES["allow"])
ALONE: dict[str, Any] = json.loads(seccomp.PROFILES["refuse"])  # where the site closes Unix sockets
PARTS = {part.call for part in IN_PART}
LISTED = [call for group in (*OPEN, *ABSENT, *CLOSED) for call in group.calls] + sorted(PARTS)
NUMBER = st.integers(0, 2**64 - 1)


def matches(rules: tuple[tuple[Argument, ...], ...], value: int) -> bool:
    """As the filter does, for rules of one argument."""
    return any(value & rule[0].mask == rule[0].value for rule in rules)


def test_every_call_of_the_kernel_stands_in_one_list() -> None:
    assert [call for call, times in Counter(LISTED).items() if times > 1] == []
    assert set(LISTED) == KERNELS


def test_the_page_for_security_officers_has_the_figures() -> None:
    reachable = sum(len(group.calls) for group in OPEN) + len(PARTS)
    figures = f"Of {len(KERNELS)} calls {reachable} are open, {len(PARTS)} of them in part;"
    assert figures in (ROOT / "SECURITY.md").read_text()


def test_every_group_has_a_reason() -> None:
    assert all(group.reason for group in (*OPEN, *IN_PART, *ABSENT, *CLOSED))


def test_what_is_not_open_is_refused() -> None:
    assert PROFILE["defaultAction"] == "SCMP_ACT_ERRNO"
    opened = {name for rule in PROFILE["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert opened == {call for group in OPEN for call in group.calls} | PARTS


def test_a_call_open_in_part_is_never_open_without_a_condition() -> None:
    for rule in PROFILE["syscalls"]:
        assert bool(rule.get("args")) == bool(PARTS & set(rule["names"]))


def test_what_is_absent_is_told_so() -> None:
    (rule,) = (rule for rule in PROFILE["syscalls"] if rule["action"] == "SCMP_ACT_ERRNO")
    assert rule["errnoRet"] == 38  # ENOSYS
    assert set(rule["names"]) == {call for group in ABSENT for call in group.calls}


def test_only_native_programs_are_let_in() -> None:
    assert PROFILE["archMap"] == [{"architecture": "SCMP_ARCH_X86_64"}, {"architecture": "SCMP_ARCH_AARCH64"}]


def test_no_rule_has_two_conditions_on_one_argument() -> None:
    # runc takes them for alternatives (libcontainer/seccomp/seccomp_linux.go).
    for rule in PROFILE["syscalls"]:
        places = [condition["index"] for condition in rule.get("args", [])]
        assert len(places) == len(set(places))


def test_a_value_is_compared_whole_or_by_its_mask() -> None:
    (clone,) = (rule["args"] for rule in PROFILE["syscalls"] if rule["names"] == ["clone"])
    assert clone == [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    families = [rule["args"][0] for rule in PROFILE["syscalls"] if rule["names"] == ["socket"]]
    assert {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"} in families


def test_ptrace_is_closed_where_it_leads_past_a_filter() -> None:
    assert all(rule["includes"] == {"minKernel": "4.8"} for rule in PROFILE["syscalls"] if rule["names"] == ["ptrace"])


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.lists(st.integers(0, 2**16), min_size=2, max_size=6, unique=True).map(sorted), NUMBER | st.integers(0, 2**16))
def test_a_range_is_told_exactly(ends: list[int], value: int) -> None:
    ranges = [range(start, stop) for start, stop in zip(ends[::2], ends[1::2], strict=False)]
    assert matches(within(0, *ranges), value) == any(value in numbers for numbers in ranges)
    assert matches(within(0, *ranges, bits=32), value) == any(value % 2**32 in numbers for numbers in ranges)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_range_may_be_all_there_is(bits: int) -> None:
    assert within(0, range(2**bits), bits=bits) == ((Argument(0, 0, 0),),)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(NUMBER | st.sampled_from([0x5412, 0x541C, 0x5423]), st.integers(0, 2**32 - 1))
def test_an_ioctl_is_told_by_the_bits_that_the_kernel_reads(value: int, high: int) -> None:
    (part,) = (part for part in IN_PART if part.call == "ioctl")
    request = value % 2**32 | high << 32
    assert matches(part.rules, request) == (request % 2**32 not in (0x5412, 0x541C, 0x5423))


# -- Unix sockets, where the site closes them ------------------------------------------------------

UNIX, STREAM, DGRAM, RAW, SEQPACKET, CLOEXEC, NONBLOCK, STRAY = 1, 1, 2, 3, 5, 0o2000000, 0o4000, 1 << 32
EPERM, EAFNOSUPPORT, OPEN_ = 1, 97, 0


def answer(profile: dict[str, Any], call: str, *arguments: int) -> int:
    """As the filter does: what the one rule says whose conditions all hold, EPERM where there is none."""
    said = {
        rule.get("errnoRet", OPEN_)
        for rule in profile["syscalls"]
        if call in rule["names"] and all(holds(condition, arguments) for condition in rule.get("args", []))
    }
    assert len(said) < 2, f"two rules for {call}{arguments}"
    return said.pop() if said else EPERM


def holds(condition: dict[str, Any], arguments: tuple[int, ...]) -> bool:
    value = arguments[condition["index"]]
    if condition["op"] == "SCMP_CMP_MASKED_EQ":
        return bool(value & condition["value"] == condition["valueTwo"])
    return bool(value == condition["value"])


@pytest.mark.parametrize("kind", [STREAM, DGRAM, RAW, SEQPACKET, STREAM | CLOEXEC, DGRAM | NONBLOCK])
@pytest.mark.parametrize("family", [UNIX, UNIX | STRAY, UNIX | 1 << 63])
def test_a_unix_socket_is_answered_as_by_a_kernel_without_them(family: int, kind: int) -> None:
    assert answer(ALONE, "socket", family, kind, 0) == EAFNOSUPPORT
    assert answer(PROFILE, "socket", UNIX, kind, 0) == OPEN_


@pytest.mark.parametrize("flags", [0, CLOEXEC, NONBLOCK, CLOEXEC | NONBLOCK])
def test_a_pair_reaches_nobody_else(flags: int) -> None:
    assert [answer(ALONE, "socketpair", UNIX, kind | flags, 0) for kind in (STREAM, SEQPACKET)] == [OPEN_] * 2
    assert [answer(ALONE, "socketpair", UNIX, kind | flags, 0) for kind in (DGRAM, RAW)] == [EPERM] * 2
    assert answer(ALONE, "socketpair", UNIX, DGRAM | flags | STRAY, 0) == EPERM
    assert answer(PROFILE, "socketpair", UNIX, DGRAM | flags, 0) == OPEN_


def test_all_else_is_answered_alike_with_unix_sockets_and_without() -> None:
    def others(profile: dict[str, Any]) -> list[Any]:
        mine = [rule for rule in profile["syscalls"] if rule["names"] not in (["socket"], ["socketpair"])]
        return [*mine, *({**profile, "syscalls": 0}.items())]

    assert others(ALONE) == others(PROFILE)
    for family, kind, protocol in ((2, STREAM, 0), (10, DGRAM, 17), (16, RAW, 0), (16, RAW, 12), (2, STREAM, 132)):
        asked = ("socket", family, kind, protocol)
        assert answer(ALONE, *asked) == answer(PROFILE, *asked)


def test_a_site_chooses_and_a_partition_may_choose_otherwise() -> None:
    text = "[mounts]\nsockets = 'refuse'\n[partition.a.mounts]\nsockets = 'allow'"
    for partition, choice in (("", "refuse"), ("b", "refuse"), ("a", "allow")):
        assert decide(cli(), site(text, partition)).fields[seccomp.UNIT] == seccomp.PROFILES[choice]
    assert decide(cli()).fields[seccomp.UNIT] == seccomp.PROFILES["allow"]
