# SPDX-License-Identifier: Apache-2.0
"""Limits of each process: the asking process's own, and no wish beyond them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slurm_hooks.errors import Refused
from slurm_hooks.knobs import ulimits
from tests.unit.policy import JOB, SITE, cli, sent
from tests.unit.test_verify import verify

TEXT = """Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max core file size        0                    unlimited            bytes     
Max processes             8051                 8051                 processes 
Max open files            1024                 1073741816           files     
Max realtime priority     0                    0                    
Max realtime timeout      unlimited            unlimited            us        
"""  # noqa: W291


def hard(*wishes: tuple[str, int, int]) -> dict[str, int]:
    """What dockerd is asked for, by name."""
    asked = [{"Name": name, "Soft": soft, "Hard": most} for name, soft, most in wishes]
    return {limit["Name"]: limit["Hard"] for limit in sent(cli(HostConfig_Ulimits=asked))["HostConfig"]["Ulimits"]}


def test_the_kernels_table_is_read_by_dockers_names() -> None:
    assert ulimits.parsed(TEXT) == {
        "core": (0, -1), "cpu": (-1, -1), "nofile": (1024, 1073741816), "nproc": (8051, 8051), "rtprio": (0, 0),
        "rttime": (-1, -1),
    }  # fmt: skip


def test_who_asks_for_nothing_has_what_the_job_has_and_no_core_files_real_time_or_niceness() -> None:
    assert hard() == {"core": 0, "memlock": 8 << 20, "nice": 0, "nofile": 131072, "rtprio": 0, "stack": -1}


@pytest.mark.parametrize("wish", [("nofile", 10, 131072), ("core", 5, -1), ("stack", -1, -1), ("cpu", 60, 60)])
def test_a_wish_passes_up_to_the_jobs_own_hard_limit(wish: tuple[str, int, int]) -> None:
    assert hard(wish)[wish[0]] == wish[2]


@pytest.mark.parametrize("wish", [("nofile", 10, 131073), ("nofile", 1, -1), ("memlock", -1, -1), ("nice", 20, 20)])
def test_a_wish_beyond_it_is_refused(wish: tuple[str, int, int]) -> None:
    with pytest.raises(Refused, match=f"^--ulimit {wish[0]}="):
        hard(wish)


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"Name": "nofile"},
        {"Name": "nofile", "Soft": 1, "Hard": 1, "x": 1},
        {"Name": "nofile", "Soft": True, "Hard": 1},
    ],
)
def test_what_is_no_limit_is_refused(wish: Any) -> None:
    with pytest.raises(Refused, match=r"^--ulimit: not a limit that Docker has"):
        ulimits.confine({ulimits.UNIT: [wish]}, JOB, SITE)


def test_before_there_is_a_job_nothing_is_above_it() -> None:
    wish = {ulimits.UNIT: [{"Name": "nofile", "Soft": 1, "Hard": -1}]}
    assert wish[ulimits.UNIT][0] in ulimits.confine(wish, replace(JOB, limits={}), SITE).fields[ulimits.UNIT]


def test_a_hard_limit_above_what_was_asked_is_told_and_one_below_is_the_programs_own() -> None:
    assert verify(limits={"nofile": (1, 131073)}) == ["ulimits: its hard limit of nofile is 131073, above 131072"]
    assert verify(limits={"core": (0, -1)}) == ["ulimits: its hard limit of core is -1, above 0"]
    assert verify(limits={"nofile": (1, 2), "rss": (-1, -1)}) == []
