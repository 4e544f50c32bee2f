# SPDX-License-Identifier: Apache-2.0
"""AppArmor: when the profile is asked for, and that its file says what the knobs say; tests/attacks has the node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from slurm_hooks.broker import readback
from slurm_hooks.errors import NodeFault
from slurm_hooks.knobs import apparmor, proc
from tests.unit.policy import JOB, ROOT, SITE

TEXT = (ROOT / "etc/apparmor.d" / apparmor.PROFILE).read_text()


def spelled_out(pattern: str) -> Iterator[str]:
    """A pattern of AppArmor without its alternations; the innermost first."""
    if inner := re.search(r"\{([^{}]*)\}", pattern):
        for one in inner[1].split(","):
            yield from spelled_out(pattern[: inner.start()] + one + pattern[inner.end() :])
    else:
        yield pattern


def denied(rights: str) -> set[str]:
    """The paths to which the profile denies these rights by name."""
    found = re.findall(r"^ *deny (/\S+) (\w+),$", TEXT, re.MULTILINE)
    return {path for pattern, said in found if said == rights for path in spelled_out(pattern)}


def test_it_is_asked_for_where_the_kernel_has_apparmor() -> None:
    assert apparmor.confine({}, JOB, SITE).fields == {apparmor.OPTION: "slurm-hooks-container"}
    assert apparmor.confine({}, replace(JOB, lsm=""), SITE).fields == {}
    assert apparmor.confine({}, replace(JOB, lsm="selinux"), SITE).fields == {}


def test_nothing_starts_where_it_is_not_loaded() -> None:
    with pytest.raises(NodeFault, match="its kernel has AppArmor, and not the profile slurm-hooks-container"):
        apparmor.confine({}, replace(JOB, profiles=frozenset({"docker-default"})), SITE)


def test_a_profile_that_only_complains_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readback, "lsm", lambda: "apparmor")
    monkeypatch.setattr(readback, "_read", lambda path: "a (enforce)\nb (complain)\nc d (enforce)\ne (unconfined)")
    assert readback.profiles(readback.lsm()) == {"a", "c d"}
    assert readback.apparmor() == {"a": "enforce", "b": "complain", "c d": "enforce", "e": "unconfined"}


def test_the_file_is_of_the_profile_that_is_asked_for() -> None:
    assert re.findall(r"^profile (\S+) ", TEXT, re.MULTILINE) == [apparmor.PROFILE]
    assert set(re.findall(r"peer=([^,]+)", TEXT)) == {apparmor.PROFILE}


@pytest.mark.parametrize("path", proc.MASKED_PATHS)
def test_what_is_masked_is_denied_by_the_profile_as_well(path: str) -> None:
    assert path in denied("mrwklx")
