# SPDX-License-Identifier: Apache-2.0
"""The word to Slurm through scontrol: a script in its place, really run."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm_hooks import controller
from slurm_hooks.errors import NodeFault

SCRIPT = """#!/bin/sh
here=$(dirname "$0")
printf '%s\\n' "$@" > "$here/asked"
cat "$here/$(basename "$0").says"
exit "$(cat "$here/status")"
"""


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scontrol and a squeue: each notes its arguments, prints what it is to say and exits as told."""
    for name in ("scontrol", "squeue"):
        (tmp_path / name).write_text(SCRIPT)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(controller, "SCONTROL", (str(tmp_path / "not-here" / "scontrol"), str(tmp_path / "scontrol")))
    answers(tmp_path, "")
    return tmp_path


def answers(scontrol: Path, text: str, status: int = 0) -> None:
    """Both say the same."""
    for name in ("scontrol", "squeue"):
        (scontrol / f"{name}.says").write_text(text)
    (scontrol / "status").write_text(str(status))


def has_job(scontrol: Path, state: str, name: str = "solve") -> None:
    """A job as `scontrol --oneliner show job` and `squeue --format=%A %T` print it."""
    answers(scontrol, f"JobId=7 JobName={name} UserId=ada(1001) GroupId=ada(1002) JobState={state} Reason=None\n")
    (scontrol / "squeue.says").write_text(f"7 {state}\n")


def test_the_release_that_is_installed_is_told_without_slurmctld(
    scontrol: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(scontrol, "slurm-wlm 24.11.5\n")
    assert controller.release() == "slurm-wlm 24.11.5\n"
    assert (scontrol / "asked").read_text() == "-V\n"
    monkeypatch.setattr(controller, "SCONTROL", ())
    assert controller.release() == ""


@pytest.mark.parametrize(
    "state",
    ["RUNNING", "COMPLETING", "PENDING", "SUSPENDED", "CONFIGURING", "RESIZING", "SIGNALING", "REQUEUED",
     "REQUEUE_HOLD", "A_STATE_OF_ANOTHER_RELEASE"],
)  # fmt: skip
def test_an_unfinished_job_is_alive(scontrol: Path, state: str) -> None:
    has_job(scontrol, state)
    assert controller.Scontrol().is_alive(7)


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"])
def test_a_finished_job_is_not(scontrol: Path, state: str) -> None:
    has_job(scontrol, state)
    assert not controller.Scontrol().is_alive(7)


def test_a_job_that_slurm_has_forgotten_is_not(scontrol: Path) -> None:
    answers(scontrol, "slurm_load_jobs error: Invalid job id specified\n", 1)
    assert not controller.Scontrol().is_alive(7)


# As squeue 24.11 prints them: asked for the array's own number, which its last task has as well, it lists all tasks;
# asked for the leader of a heterogeneous job, all components.
def test_another_task_of_the_array_does_not_speak_for_the_last_one(scontrol: Path) -> None:
    (scontrol / "squeue.says").write_text("7 COMPLETED\n9 RUNNING\n8 RUNNING\n")
    assert not controller.Scontrol().is_alive(7)


def test_the_jobs_of_a_node_are_those_that_are_not_over(scontrol: Path) -> None:
    rows = {"4": (0, "RUNNING"), "5": (2, "COMPLETING"), "6": (0, "CANCELLED"), "12": (1, "SUSPENDED")}
    said = "".join(f"{job:<20}{count:<12}{state:<24}\n" for job, (count, state) in rows.items())
    (scontrol / "squeue.says").write_text(said)
    found = controller.Scontrol().on_node("cn1")
    assert found == {4: (0, "RUNNING"), 5: (2, "COMPLETING"), 12: (1, "SUSPENDED")}
    assert "--nodelist=cn1" in (scontrol / "asked").read_text().splitlines()


@pytest.mark.parametrize(
    ("said", "status"),
    [("slurm_load_jobs error: Unable to contact slurm controller", 1), ("Invalid node name cn1", 1), ("4 RUNNING", 0)],
)
def test_what_tells_nothing_of_the_jobs_of_a_node_is_a_fault(scontrol: Path, said: str, status: int) -> None:
    answers(scontrol, said, status)
    with pytest.raises(NodeFault, match=r"^jobs of cn1"):
        controller.Scontrol().on_node("cn1")


def test_the_name_of_a_job_does_not_speak_for_its_state(scontrol: Path) -> None:
    has_job(scontrol, "COMPLETED", name="a JobState=RUNNING b")
    assert not controller.Scontrol().is_alive(7)


def test_a_controller_that_does_not_answer_is_a_fault(scontrol: Path) -> None:
    answers(scontrol, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", 1)
    with pytest.raises(NodeFault, match=r"^state of job 7"):
        controller.Scontrol().is_alive(7)


def test_a_drain_is_asked_for_with_its_reason_as_one_argument(scontrol: Path) -> None:
    controller.Scontrol().drain("cn1", "slurm-hooks: job 7 (ada) left pid 9; see report")
    assert (scontrol / "asked").read_text().splitlines() == [
        "update",
        "nodename=cn1",
        "state=drain",
        "reason=slurm-hooks: job 7 (ada) left pid 9; see report",
    ]


def test_a_drain_that_fails_is_a_fault_in_slurms_words(scontrol: Path) -> None:
    answers(scontrol, "slurm_update error: Invalid user id\n", 1)
    with pytest.raises(NodeFault, match=r"^drain of cn1: slurm_update error: Invalid user id$"):
        controller.Scontrol().drain("cn1", "x")


def test_no_scontrol_at_all_is_a_fault_that_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "SCONTROL", ("/nowhere/scontrol",))
    with pytest.raises(NodeFault, match="not at /nowhere/scontrol"):
        controller.Scontrol().is_alive(7)
