# SPDX-License-Identifier: Apache-2.0
"""The runs and containers that the events of a job tell of, and the sentence about them."""

from __future__ import annotations

from typing import Any

import pytest

from slurm_hooks import story, words

NOW = 5000.0
PROLOG = {"event": "prolog", "user": "ada"}
CLEAN = {"event": "epilog", "verdict": "clean", "seconds": 0.5, "peaks": {}}


def told(*events: dict[str, Any], **facts: Any) -> list[dict[str, Any]]:
    """Events a second apart from 1000 on, of job 7."""
    return [{"time": 1000.0 + at, "job": 7, "restart": 0, **event, **facts} for at, event in enumerate(events)]


def run_of(*events: dict[str, Any], record: str = story.NO_RECORD) -> story.Run:
    (run,) = story.runs(told(*events), {0: record} if record else {}, NOW)
    return run


def of(kind: str, name: str, **facts: Any) -> dict[str, Any]:
    """An event of a container."""
    return {"event": kind, "container": name, **({"image": "img"} if kind == "create" else {}), **facts}


def outcomes(run: story.Run) -> list[tuple[str, str, float]]:
    return [(one.name, story.outcome(one, run), one.seconds(run.until)) for one in run.containers]


def headline(run: story.Run) -> tuple[str, str]:
    return story.headline(7, run, lambda seconds: f"{seconds:.0f}")


def test_a_container_is_what_lies_between_its_start_and_its_end() -> None:
    run = run_of(PROLOG, of("create", "c"), of("start", "c"), of("end", "c", exit=0, own={"pids": 3}), PROLOG, CLEAN)
    assert outcomes(run) == [("c", "exit 0", 1.0)]
    assert run.containers[0].own == {"pids": 3} and not run.containers[0].failed


@pytest.mark.parametrize("turned", [False, True], ids=["start first", "end first"])
def test_the_end_of_a_short_one_may_be_noted_before_its_start(turned: bool) -> None:  # noqa: FBT001
    last = [of("start", "c", read_back="ended before it"), of("end", "c", exit=1)]
    run = run_of(PROLOG, of("create", "c"), *(reversed(last) if turned else last), PROLOG, CLEAN)
    assert [(name, words) for name, words, _ in outcomes(run)] == [("c", "exit 1")]
    assert len(run.containers[0].spans) == 1


def test_a_name_that_is_used_again_is_another_container() -> None:
    one = [of("create", "c"), of("start", "c"), of("end", "c", exit=0)]
    two = [of("create", "c"), of("start", "c"), of("end", "c", exit=2)]
    assert [words for _, words, _ in outcomes(run_of(PROLOG, *one, *two, PROLOG, CLEAN))] == ["exit 0", "exit 2"]


def test_a_container_that_is_renamed_stays_one() -> None:
    facts = {"id": "0123456789ab"}
    run = run_of(
        of("create", "old", **facts), of("start", "old", **facts), of("end", "new", exit=0, **facts), PROLOG, CLEAN
    )
    assert outcomes(run) == [("new", "exit 0", 1.0)]


def test_a_container_that_starts_again_has_two_spans() -> None:
    again = [of("start", "c"), of("end", "c", exit=9)]
    run = run_of(of("create", "c"), of("start", "c"), of("end", "c", exit=0), *again, PROLOG, CLEAN)
    assert outcomes(run) == [("c", "exit 9", 2.0)]
    assert [span.exit for span in run.containers[0].spans] == [0, 9]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"exit": 137, "own": {"oom": 1}}, "exit 137, out of memory"),
        ({"exit": 143}, "exit 143, signal 15"),
        ({"exit": 2, "own": {"full": 3}}, "exit 2, pids limit reached"),
        ({}, "exit -1"),
    ],
)
def test_why_a_container_ended(end: dict[str, Any], words: str) -> None:
    run = run_of(of("create", "c"), of("start", "c"), of("end", "c", **end), PROLOG, CLEAN)
    assert outcomes(run)[0][1] == words and run.containers[0].failed


def test_a_container_is_not_out_of_memory_because_another_of_the_job_was() -> None:
    end = of("end", "c", exit=137, own={"oom": 0})  # cgroup v1 has dockerd say `oom` of all below the job's limit
    run = run_of(of("create", "c"), of("start", "c"), of("oom", "c"), end, PROLOG, CLEAN)
    assert outcomes(run)[0][1] == "exit 137, signal 9"


def test_what_the_epilog_ended_has_not_failed() -> None:
    epilog = {**CLEAN, "seconds": 1.5}
    for end in ([of("end", "c", exit=137)], []):
        run = run_of(of("create", "c"), of("start", "c"), *end, epilog)
        assert outcomes(run)[0][1] == "ended with the job" and not run.containers[0].failed


def test_a_container_without_an_end_runs_or_is_not_known() -> None:
    events = (PROLOG, of("create", "c"), of("start", "c"))
    assert outcomes(run_of(*events, record=story.OPEN)) == [("c", "running", NOW - 1002)]
    assert outcomes(run_of(*events)) == [("c", "no end was seen", 0.0)]


def test_a_container_that_was_never_started() -> None:
    run = run_of(of("create", "a"), of("create", "b"), of("start-failed", "b", why="no room"), CLEAN)
    assert [words for _, words, _ in outcomes(run)] == ["never started", "did not start"]
    assert [one.failed for one in run.containers] == [False, True]


def test_an_end_of_a_container_that_nobody_made_is_told_of() -> None:
    assert outcomes(run_of(of("end", "c", exit=3), PROLOG, PROLOG, CLEAN)) == [("c", "exit 3", 0.0)]


def test_a_requeued_job_has_two_runs() -> None:
    events = told(PROLOG, CLEAN) + told(PROLOG, of("create", "c"), CLEAN, restart=1)
    first, second = story.runs(events, {}, NOW)
    assert (first.restart, len(first.containers), second.restart, len(second.containers)) == (0, 0, 1, 1)


def test_a_number_that_is_used_again_is_another_job() -> None:
    again = [{**event, "time": event["time"] + 1e6} for event in told(PROLOG, of("create", "c"))]
    first, second = story.runs(told(PROLOG, CLEAN, CLEAN) + again, {0: story.OPEN}, 1.1e6)
    assert (first.is_clean, first.record, first.index) == (True, story.NO_RECORD, 0)
    assert (second.is_over, second.record, len(second.containers), second.index) == (False, story.OPEN, 1, 1)


def test_the_picture_ends_with_the_first_epilog_not_with_one_by_hand() -> None:
    events = [*told(PROLOG, {**CLEAN, "verdict": "left"}), *told({**CLEAN}, time=9000.0)]
    (run,) = story.runs(events, {}, NOW)
    assert run.until == 1001.0


@pytest.mark.parametrize(
    ("events", "record", "tone", "words"),
    [
        ([PROLOG, CLEAN], "", story.OK,
         "Clean: nothing of the job was left after 0.50 s of teardown. It used no container."),
        ([PROLOG, {"event": "sweep", "why": "x"}, CLEAN], "", story.OK,
         "0.50 s of teardown. It was ended by the sweep, as no Epilog had. It used no container."),
        ([PROLOG], story.OPEN, story.GOING, "Running since 1000. It used no container."),
        ([PROLOG], story.CLOSING, story.BAD, "Over, and not torn down: its Epilog is at work, or was broken off."),
        ([PROLOG], "", story.BAD, "Its Epilog never came: the node, or slurmd, went down before it."),
        ([{"event": "prolog-failed", "why": "no cgroup"}], "", story.BAD, "No containers in this job: no cgroup"),
        ([PROLOG, {**CLEAN, "verdict": "slurm-hooks: job 7 (ada) left x"}], "", story.BAD,
         "Not clean: job 7 (ada) left x"),
        ([PROLOG, {**CLEAN, "verdict": "left"}, CLEAN], "", story.OK,
         "Clean at 1002, at look 2: nothing of the job is left, but the node was drained for it."),
        ([PROLOG, of("create", "c"), of("start", "c"), of("end", "c", exit=137, own={"oom": 1}),
          {"event": "refused", "why": "x"}, CLEAN], "", story.OK,
         "It ran 1 container, 1 failed (1 for want of memory); 1 request was refused."),
    ],
)  # fmt: skip
def test_the_headline(events: list[dict[str, Any]], record: str, tone: str, words: str) -> None:
    found, sentence = headline(run_of(*events, record=record))
    assert found == tone and words in sentence


@pytest.mark.parametrize(
    "entry", [None, [], {}, {"time": "1", "event": "x"}, {"time": 1}, {"time": float("nan"), "event": "x"}]
)
def test_what_is_no_event(entry: Any) -> None:
    assert not words.is_event(entry)
    assert words.is_event({"time": 1, "event": "x"})


@pytest.mark.parametrize(
    "kind", ["prolog", "create", "start", "end", "exec", "pull", "epilog", "left", "beside", "refused"]
)
def test_an_event_of_another_release_is_told_with_what_it_has(kind: str) -> None:
    assert words.words({"time": 1.0, "event": kind, "job": 7, "restart": 0, "other": "thing"}) == "other thing"
