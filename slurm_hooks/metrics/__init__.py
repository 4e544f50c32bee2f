# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks metrics`: figures of the node for Prometheus' textfile collector, by a timer.

Counters are of the event log, read on from where the last run was (tail.py), so no hook does more for them. They and
the place in the log are one file, written at once: what was counted is never counted again.

    /var/lib/slurm-hooks/metrics.json    missing: all that the log has is counted. damaged: counters begin anew, as
                                         Prometheus knows it of a restart, with what is later than the damaged file
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from dataclasses import dataclass, field

from slurm_hooks import __version__, config, jobs, linux, quickjson
from slurm_hooks.errors import HooksError
from slurm_hooks.metrics import tail, tally

NAME = "metrics.json"
WAIT_SECONDS = 20.0  # for a run beside us
FORMAT = 1


@dataclass
class State:
    """What is kept from run to run."""

    since: float  # when counting began, seconds since 1970
    mark: tail.Mark | None = None
    counts: tally.Counts = field(default_factory=tally.nothing)

    def to_json(self) -> str:
        """What `load` reads."""
        mark = self.mark.to_json() if self.mark else None
        return quickjson.dumps({"format": FORMAT, "since": self.since, "mark": mark, "counts": self.counts})


def main(output: str | None, *, state: str = config.STATE, log: str = config.EVENTS) -> int:
    """Count what is new; print, or put into `output` at once. Raises HooksError."""
    try:
        os.makedirs(state, 0o750, exist_ok=True)
        with linux.Locked(state, within=WAIT_SECONDS) as lock:
            if not lock.held:
                raise HooksError(state, "another run of slurm-hooks metrics does not end", "Look for it: ps.")
            now = load(state)
            read_on(now, log)
            linux.replace(f"{state}/{NAME}", now.to_json())
            said = tally.text(now.counts, gauges(now), __version__)
            if output is not None:
                publish(output, said)
                return 0
    except OSError as error:
        where = error.filename or state
        raise HooksError(str(where), os.strerror(error.errno or 0), "metrics is root's to run.") from None
    print(said, end="")
    return 0


def load(state: str) -> State:
    """The state of the last run, or a new one. Raises OSError."""
    path = f"{state}/{NAME}"
    try:
        text = linux.read(path)
    except FileNotFoundError:
        return State(time.time())
    try:
        saved = quickjson.loads(text)
        if saved["format"] != FORMAT:
            raise ValueError("of another release")
        mark = None if saved["mark"] is None else tail.Mark.of(saved["mark"])
        return State(float(saved["since"]), mark, tally.restored(saved["counts"]))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        print(f"slurm-hooks: {path} is damaged ({error}): counting begins anew", file=sys.stderr)
        return State(time.time(), tail.lost(os.stat(path).st_mtime))


def read_on(state: State, log: str) -> None:
    """Count what the log has after the state's place."""
    new = tail.Tail(state.mark, log)
    for event in new:
        tally.add(state.counts, event)
    state.mark = new.mark
    state.counts["log_lines_damaged_total"] += new.damaged
    if new.gap:
        state.counts["log_gaps_total"] += 1
        print("slurm-hooks: a part of the event log was gone before it was counted", file=sys.stderr)


def gauges(state: State) -> tally.Counts:
    """What is now: jobs by the state of their records, and whether one that is over holds the node."""
    found = jobs.everyone()
    closing = [job for job in found if job.state == jobs.CLOSING]
    return {
        tally.sample("jobs", state="open"): sum(job.state == jobs.OPEN for job in found),
        tally.sample("jobs", state="closing"): len(closing),
        "node_held": any(job.verdict not in ("", "clean") for job in closing),
        "counting_since_timestamp_seconds": state.since,
    }


def publish(path: str, text: str) -> None:
    """Put a file in place at once, for all to read. Raises HooksError, OSError.

    The directory may be the collector's own user's: nothing that is there already is written into or followed.
    """
    top, name = os.path.split(os.path.abspath(path))
    try:
        directory = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        todo = "It is node_exporter's --collector.textfile.directory."
        raise HooksError(top, os.strerror(error.errno or 0), todo) from None
    temporary = f".{name}.{secrets.token_hex(8)}"  # the collector reads *.prom alone
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=directory)
        try:
            with os.fdopen(fd, "wb") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(text.encode())
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(temporary, dir_fd=directory)
            raise
    finally:
        os.close(directory)
