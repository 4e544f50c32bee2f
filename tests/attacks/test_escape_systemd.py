# SPDX-License-Identifier: Apache-2.0
"""Out of the job through those who may move or start a process for it: systemd's user manager, a root helper.

Each test first shows that the process lives outside of the job. The marks are durations of sleep.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster, Job

# The lab has no libpam-systemd, which would set the variable.
DROP_IN = "/run/systemd/system/user@.service.d/lab.conf"
PREPARE = f"""mkdir -p {DROP_IN.rpartition("/")[0]}
printf '[Service]\\nEnvironment=XDG_RUNTIME_DIR=/run/user/%%i\\n' > {DROP_IN}; systemctl daemon-reload"""
UNDO = f"""loginctl disable-linger ann; systemctl stop user@1001 user-runtime-dir@1001 2>/dev/null
systemctl reset-failed user@1001 2>/dev/null; rm -f {DROP_IN}; systemctl daemon-reload
pkill -KILL -f '^(/usr/bin/)?sleep 72[0-9][0-9]$'
until ! pgrep -f '^(/usr/bin/)?sleep 72[0-9][0-9]$'; do sleep 0.1; done"""
READY = "until [ -S /run/user/1001/systemd/private ]; do sleep 0.1; done"
IN_JOB = f"export XDG_RUNTIME_DIR=/run/user/1001; {READY}; "
WAIT = "echo ESCAPED; until [ -e go ]; do sleep 0.1; done; rm go"


@pytest.fixture
def systemd(cluster: Cluster, node: str) -> Iterator[str]:
    """A node with systemd, on which ann may have a manager of her own; afterwards she has none."""
    if not cluster.has_systemd:
        pytest.skip("the lab's node has no systemd")
    cluster.must(node, PREPARE)
    yield node
    cluster.must(node, UNDO)


@pytest.fixture
def lingering(cluster: Cluster, systemd: str) -> str:
    """Ann's manager was there before her job, and may stay."""
    cluster.must(systemd, f"loginctl enable-linger ann; {READY}")
    return systemd


def place(cluster: Cluster, node: str, mark: int) -> str:
    """The cgroup of the process with that mark, "" where there is none."""
    return cluster.sh(node, f"cat /proc/$(pgrep -f '^(/usr/bin/)?sleep {mark}$')/cgroup 2>/dev/null").out.strip()


def escaped(cluster: Cluster, node: str, script: str, mark: int) -> Job:
    """A job whose process with the mark is alive, and outside of it."""
    job = cluster.sbatch(
        f"{script}\nuntil pgrep -f '^(/usr/bin/)?sleep {mark}$' >/dev/null; do sleep 0.1; done; {WAIT}"
    )
    job.wait_for_output("ESCAPED")
    return job


def over(cluster: Cluster, job: Job) -> str:
    """Let the job end; its Epilog's verdict."""
    cluster.must(job.node, "touch go", user="ann")
    return str(job.wait()["verdict"])


def test_a_scope_of_the_users_manager_is_ended(cluster: Cluster, lingering: str) -> None:
    job = escaped(cluster, lingering, f"{IN_JOB}systemd-run --user --scope -q sleep 7201 &", 7201)
    assert "user@1001.service/app.slice" in place(cluster, lingering, 7201)
    assert over(cluster, job) == "clean"
    assert place(cluster, lingering, 7201) == ""
    (event,) = job.events("ended")
    assert (event["kind"], "sleep" in event["what"], "moved by" in event["evidence"]) == ("escape", True, True)


def test_a_service_of_a_manager_that_was_there_before_is_told_of(cluster: Cluster, lingering: str) -> None:
    job = escaped(cluster, lingering, f"{IN_JOB}systemd-run --user -q sleep 7202", 7202)
    assert "user@1001.service/app.slice" in place(cluster, lingering, 7202)
    assert over(cluster, job) == "clean"
    assert place(cluster, lingering, 7202)  # perhaps the user's own lingering service: not ended
    (event,) = job.events("beside")
    assert (event["weight"], "sleep" in event["what"]) == ("likely", True)


def test_a_manager_that_came_with_the_job_ends_with_it(cluster: Cluster, systemd: str) -> None:
    job = cluster.sbatch(f"echo BEGUN; {IN_JOB}systemd-run --user -q sleep 7203; {WAIT}")
    job.wait_for_output("BEGUN")
    cluster.must(systemd, "systemctl start user@1001")
    job.wait_for_output("ESCAPED")
    assert "user@1001.service/app.slice" in place(cluster, systemd, 7203)
    assert over(cluster, job) == "clean"
    assert cluster.sh(systemd, "pgrep -u ann").out == ""


@pytest.mark.parametrize("where", ["", "/hidden"], ids=["the root", "a cgroup of nobody's"])
def test_what_a_root_helper_moved_is_ended(cluster: Cluster, systemd: str, where: str) -> None:
    job = escaped(cluster, systemd, "sleep 7204 &", 7204)
    cluster.must(
        systemd,
        f"mkdir -p /sys/fs/cgroup{where}; pgrep -f '^(/usr/bin/)?sleep 7204$' > /sys/fs/cgroup{where}/cgroup.procs",
    )
    assert place(cluster, systemd, 7204) == f"0::{where or '/'}"
    assert over(cluster, job) == "clean"
    assert place(cluster, systemd, 7204) == ""
    if where:
        cluster.must(systemd, f"rmdir /sys/fs/cgroup{where}")
