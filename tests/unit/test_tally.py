# SPDX-License-Identifier: Apache-2.0
"""What an event adds to the counters; and that the set of series is closed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from slurm_hooks import knobs, teardown
from slurm_hooks.broker import routes
from slurm_hooks.escapes import Left
from slurm_hooks.metrics import tally
from tests.unit.policy import ROOT
from tests.unit.test_jobs import job_of
from tests.unit.test_report import STORY

HOSTILE = 'x"} 1\nslurm_hooks_node_held 1\n\\'


def added(*events: dict[str, Any]) -> dict[str, float]:
    """What these events add, without the zeros and the histogram's buckets."""
    counts = tally.nothing()
    for event in events:
        tally.add(counts, {"time": 1.0, "job": 7, "restart": 0, **event})
    return {name: value for name, value in counts.items() if value and "_bucket" not in name and name != "dockerd_up"}


@pytest.mark.parametrize(
    ("event", "series"),
    [
        ({"event": "prolog"}, "jobs_begun_total"),
        ({"event": "create"}, "containers_created_total"),
        ({"event": "start", "read_back": "as asked"}, 'containers_started_total{read_back="as asked"}'),
        ({"event": "start", "read_back": "of the future"}, 'containers_started_total{read_back="other"}'),
        ({"event": "start-failed", "why": "x"}, "container_starts_failed_total"),
        ({"event": "end", "exit": 0, "own": {}}, 'containers_ended_total{cause="done"}'),
        ({"event": "end", "exit": 3}, 'containers_ended_total{cause="failed"}'),
        ({"event": "end", "exit": -1}, 'containers_ended_total{cause="failed"}'),
        ({"event": "end", "exit": 143}, 'containers_ended_total{cause="signal"}'),
        ({"event": "end", "exit": 137, "own": {"oom": 2, "full": 1}}, 'containers_ended_total{cause="memory"}'),
        ({"event": "end", "exit": 0, "own": {"oom": 0, "full": 1}}, 'containers_ended_total{cause="pids"}'),
        ({"event": "exec"}, "execs_total"),
        ({"event": "pull", "why": "denied", "bytes": 0}, 'pulls_total{result="failed"}'),
        ({"event": "pull", "why": "", "bytes": 0}, 'pulls_total{result="pulled"}'),
        ({"event": "refused", "by": "mounts"}, 'refusals_total{knob="mounts"}'),
        ({"event": "refused", "by": "exec-create"}, 'refusals_total{knob="execs"}'),
        ({"event": "refused", "by": "pull"}, 'refusals_total{knob="images"}'),
        ({"event": "refused", "by": "endpoint"}, 'refusals_total{knob="endpoint"}'),
        ({"event": "refused", "by": "asker"}, 'refusals_total{knob="asker"}'),
        ({"event": "refused", "by": "list"}, 'refusals_total{knob="other"}'),
        ({"event": "refused"}, 'refusals_total{knob="other"}'),
        ({"event": "refused", "by": "node"}, "requests_failed_total"),
        ({"event": "differs", "what": ["pids: pids.max is max", "x"]}, 'differs_total{knob="pids"}'),
        ({"event": "differs", "what": ["cgroup: it is in /x"]}, 'differs_total{knob="cgroup"}'),
        ({"event": "differs", "what": ["the broker was killed before it was read back"]},
         'differs_total{knob="unread"}'),
        ({"event": "differs", "what": []}, 'differs_total{knob="other"}'),
        ({"event": "left", "kind": "process"}, 'leftovers_total{kind="process",became="held"}'),
        ({"event": "ended", "kind": "escape"}, 'leftovers_total{kind="escape",became="ended"}'),
        ({"event": "beside", "kind": "ipc"}, 'leftovers_total{kind="ipc",became="reported"}'),
        ({"event": "beside", "kind": "new"}, 'leftovers_total{kind="other",became="reported"}'),
        ({"event": "drain", "why": "slurm-hooks: job 7 (ada) left pid 9 cat, state D"},
         'drains_total{reason="process"}'),
        ({"event": "keeper-bug"}, 'faults_total{event="keeper-bug"}'),
        ({"event": "orphan"}, "orphans_total"),
        ({"event": "sweep", "why": "slurmctld says that it is over"}, "jobs_swept_total"),
        ({"event": "swept", "jobs": 1, "left": 0, "why": "slurmctld is away"}, 'faults_total{event="sweep-fault"}'),
        ({"event": "broker-start"}, "broker_starts_total"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_event_is_counted_once(event: dict[str, Any], series: str) -> None:
    assert added(event) == {series: 1}


@pytest.mark.parametrize(
    ("events", "up"),
    [([], 1), (["dockerd-lost"], 0), (["dockerd-lost", "dockerd-back"], 1), (["dockerd-lost", "broker-start"], 1),
     (["dockerd-back", "dockerd-lost", "keeper-fault"], 0)],
)  # fmt: skip
def test_dockerd_is_up_as_the_log_said_last(events: list[str], up: int) -> None:
    counts = tally.nothing()
    for event in events:
        tally.add(counts, {"time": 1.0, "event": event})
    assert counts["dockerd_up"] == up == tally.restored(counts)["dockerd_up"]


def test_what_a_pull_fetched_and_what_was_evicted_add_up() -> None:
    assert added({"event": "pull", "why": "", "bytes": 30}, {"event": "pull", "why": "", "bytes": 12}) == {
        'pulls_total{result="pulled"}': 2, "pulled_bytes_total": 42,
    }  # fmt: skip
    assert added({"event": "evict", "images": ["a", "b"]}) == {"images_evicted_total": 2}


def test_a_teardown_is_in_each_bucket_from_its_own_on() -> None:
    counts = tally.nothing()
    for seconds in (0.05, 0.3, 1000, -1, "?"):
        tally.add(counts, {"time": 1.0, "event": "epilog", "verdict": "clean", "seconds": seconds})
    buckets = {name: value for name, value in counts.items() if name.startswith("teardown_seconds")}
    assert buckets['teardown_seconds_bucket{le="0.05"}'] == 3
    assert buckets['teardown_seconds_bucket{le="0.25"}'] == 3
    assert buckets['teardown_seconds_bucket{le="0.5"}'] == 4
    assert buckets['teardown_seconds_bucket{le="150"}'] == 4
    assert buckets['teardown_seconds_bucket{le="+Inf"}'] == buckets["teardown_seconds_count"] == 5
    assert buckets["teardown_seconds_sum"] == 1000.35


@pytest.mark.parametrize("verdict", ["clean", "slurm-hooks: job 7 (ada) left pid 9 cat"])
def test_a_verdict_is_clean_or_not(verdict: str) -> None:
    name = "clean" if verdict == "clean" else "left"
    assert added({"event": "epilog", "verdict": verdict, "seconds": 0})[f'jobs_ended_total{{verdict="{name}"}}'] == 1


FURTHER: list[dict[str, Any]] = [
    *({"event": fault} for fault in tally.FAULTS), {"event": "differs", "what": ["x"]},
    {"event": "evict", "images": ["x"]}, {"event": "orphan", "container": "x"},
]  # fmt: skip


@pytest.mark.parametrize("event", STORY + FURTHER, ids=lambda event: event["event"])
def test_nothing_in_an_event_makes_a_series(event: dict[str, Any]) -> None:
    for other in (HOSTILE, 10**400, float("nan"), None, [HOSTILE], {HOSTILE: HOSTILE}, True):
        counts = tally.nothing()
        tally.add(counts, {key: other if key != "event" else value for key, value in event.items()})
        assert set(counts) == set(tally.nothing())
        assert all(0 <= value < float("inf") for value in counts.values())


def test_the_whole_is_small_whatever_happens() -> None:
    assert len(tally.nothing()) < 200


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        (Left("process", "pid 4242 cat, state D in request_wait_answer", ""), "process"),
        (Left("process", "pid 4242 left container , state S", ""), "process"),
        (Left("escape", "pid 4242 sleep, state S outside of the job, in /user.slice/x", ""), "escape"),
        (Left("shim", "pid 12 containerd-shim-runc-v2 of 0123456789ab", ""), "shim"),
        (Left("container", "container 0123456789ab (running)", ""), "container"),
        (Left("container", "its containers, unknown: dockerd does not answer", ""), "dockerd"),
        (Left("mount", "/run/slurm-hooks/stage/7-0-abc.x/0", ""), "mount"),
        (Left("cgroup", "/system.slice/cn1_slurmstepd.scope/job_7", ""), "cgroup"),
        (Left("fuse", "fuse.sshfs on /home/ada/x", ""), "fuse"),
        (Left("new", "a thing of the future", ""), "other"),
    ],
)
def test_a_drain_has_the_class_of_what_was_left_first(left: Left, reason: str) -> None:
    assert tally.reason(teardown.reason(job_of(), [left])) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("slurm-hooks: job 7 (ada): a container start hangs; run slurm-hooks epilog 7", "start"),
        ("slurm-hooks: job 7 left pids [42, 43]; bug: KeyError: 'x'", "bug"),
        ("Epilog error", "other"),
        ("", "other"),
    ],
)
def test_a_drain_of_another_kind(text: str, reason: str) -> None:
    assert tally.reason(text) == reason


def test_a_sweep_that_went_well_is_no_fault() -> None:
    assert added({"event": "swept", "jobs": 1, "left": 0, "why": ""}) == {}


def test_every_fault_that_is_recorded_is_counted() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "slurm_hooks").rglob("*.py"))
    recorded = set(re.findall(r'events\.record\(\s*"([a-z-]+)"', sources))
    faults = {name for name in recorded if re.search("(bug|fault|broken|lost|failed|damaged)$", name)}
    assert faults - {"start-failed"} == set(tally.FAULTS)  # which has a counter of its own


def test_its_knobs_are_the_policys_and_its_words_are_rows() -> None:
    assert set(tally.KNOBS) == set(knobs.KNOBS)
    assert set(tally.OF_REQUESTS) - {"endpoint", "asker"} <= {route.handler for route in routes.ROUTES}


def test_saved_counters_come_back_and_nothing_else() -> None:
    counts = tally.nothing() | {"execs_total": 3.0}
    assert tally.restored(counts) == counts
    odd = {"execs_total": "7", "jobs_begun_total": -1, "orphans_total": float("inf"), "of another release": 5}
    assert tally.restored(odd) == tally.nothing()


def test_a_label_is_escaped() -> None:
    assert tally.sample("info", version='a"b\\c\nd') == 'info{version="a\\"b\\\\c\\nd"}'
