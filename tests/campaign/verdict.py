# SPDX-License-Identifier: Apache-2.0
"""What was seen in a round, judged: the violations, each in a line that begins with its kind. Pure.

leak      something of a job is left, and the node was not drained (or is, after what an operator does)
innocent  who has nothing to do with it was harmed
drain     the node was drained, nothing was left on it, and the fault was over
lost      a job ended, or docker in it, that need not
stuck     a job's end did not come
"""

from __future__ import annotations

from typing import Any

from tests.campaign import plan

OURS = "slurm-hooks:"
# Slurm itself ends or requeues a job whose slurmstepd or Prolog dies, and whose slurmd dies before it was launched.
LOSES = {*(("slurmstepd", step) for step in plan.STEPS), *(("scancel", step) for step in plan.STEPS),
         ("hook", "prolog"), ("slurmd", "prolog")}  # fmt: skip
# Slurm itself drains a node where a hook or slurmstepd is killed.
SLURM_DRAINS = {("hook", "prolog"), ("hook", "epilog"), *(("slurmstepd", step) for step in plan.STEPS)}


def violations(round_: plan.Round, seen: dict[str, Any]) -> list[str]:
    """None: the round is as it must be."""
    if seen.get("broken"):
        return [f"broken: {seen['broken']}"]
    pair = (round_.fault, round_.step)
    found = [f"innocent: {one}" for one in seen["harmed"]]
    if seen["drained"]:
        found += _of_a_drain(pair, seen)
    elif seen["left"]:
        later = seen.get("left_later", [])
        found += [f"leak: {one}{'' if one in later else ' (gone 2 s later)'}" for one in seen["left"]]
    for name, job in seen["jobs"].items():
        if job["stuck"]:
            found.append(f"stuck: {name} {job['id']} is {job['stuck']}")
        if not (name == "main" and pair in LOSES):
            found += _of_a_job(round_, name, job)
    return found


def _of_a_drain(pair: tuple[str, str], seen: dict[str, Any]) -> list[str]:
    found = [f"leak: after the operator's epilog: {one}" for one in seen.get("left_after", [])]
    found += [
        f"leak: slurm-hooks epilog {job} is not clean though the fault is over: {said}"
        for job, (status, said) in seen.get("again", {}).items()
        if status != 0
    ]
    if not seen["drained"].startswith(OURS):
        if pair not in SLURM_DRAINS:
            found.append(f"drain: by Slurm itself: {seen['drained']}")
    elif not seen["left"] and not seen["during"]:
        found.append(f"drain: nothing was left, and the fault was over: {seen['drained']}")
    return found


def _of_a_job(round_: plan.Round, name: str, job: dict[str, Any]) -> list[str]:
    if job["hopeless"]:
        # A run directory that is full at the Prolog: the job has no record, so no container (and says so).
        return [] if (round_.fault, round_.step) == ("full", "prolog") else [f"lost: docker in {name} {job['id']}"]
    if name == "main" and round_.step == "epilog":
        return []
    if not job["survived"] and not (round_.step == "epilog" and round_.ends == "scancel"):
        return [f"lost: {name} {job['id']}: {job.get('JobState')} {job.get('Reason')} exit {job.get('ExitCode')}"]
    return []
