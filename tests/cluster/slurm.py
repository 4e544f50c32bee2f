# SPDX-License-Identifier: Apache-2.0
"""What a test says to a cluster, whatever lab it is: run a job, wait for it, look at the node."""

from __future__ import annotations

import json
import re
import shlex
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.labs.base import Done, Lab

CONFIG = "/etc/slurm-hooks/slurm-hooks.toml"
EVENTS = "/var/log/slurm-hooks/events.jsonl"
WITHIN = 60.0  # seconds; nothing that a test waits for takes longer on a healthy lab

# slurmstepd leaves its step's cgroup, sees that it is not empty yet, and only then begins to watch it: what comes in
# between it waits for in vain for a second, and says so into the job's output (Slurm 24.11, cgroup_v2.c).
MISSED_EVENT = re.compile(
    r"^slurmstepd-\S+: error: Timeout waiting for \S+/slurm/cgroup.events to become empty\.\n", re.MULTILINE
)


class TooLate(AssertionError):
    """What was waited for did not come."""


class Drained(AssertionError):
    """The node takes no jobs any more; the text is its reason."""


@dataclass
class Job:
    """A job that was handed to Slurm; its script runs on `node`."""

    cluster: Cluster
    id: int
    node: str
    user: str
    output_file: str = ""

    @property
    def output(self) -> str:
        """What the job has written so far, without a line of slurmstepd's that says nothing of the job."""
        return MISSED_EVENT.sub("", self.cluster.must(self.node, f"cat {self.output_file}", user=self.user))

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Our events of the job on its node, perhaps of one kind."""
        # The log itself, here and below: an interpreter started is half a second of a small node.
        lines = self.cluster.sh(self.node, f"grep -shF '\"job\": {self.id},' {EVENTS}.1 {EVENTS}").out.splitlines()
        found = [event for event in map(json.loads, lines) if event["job"] == self.id]
        return [event for event in found if kind in ("", event["event"])]

    def wait_for_output(self, text: str, *, within: float = WITHIN) -> None:
        """Until the job has written `text`."""
        written = f"grep -qsF {shlex.quote(text)} {self.output_file}"
        self.cluster.wait(self.node, written, f"{text!r} in the output of job {self.id}", within=within)

    def wait(self) -> dict[str, Any]:
        """Until the Epilog has given its verdict; its event."""
        said = f'"event": "epilog", "job": {self.id},'
        self.cluster.wait(
            self.node,
            f"grep -qsF {shlex.quote(said)} {EVENTS}",
            f"the epilog of job {self.id}",
        )
        return self.events("epilog")[-1]

    def cancel(self) -> None:
        """scancel."""
        self.cluster.must(self.cluster.lab.controller, f"scancel {self.id}")

    @property
    def cgroup(self) -> str:
        """The job's cgroup as the Prolog registered it."""
        return str(self.events("prolog")[-1]["cgroup"])


class Cluster:
    """A lab's cluster, through its shells."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @property
    def node(self) -> str:
        """The node where tests that need one run."""
        return self.lab.nodes[0]

    @property
    def version(self) -> int:
        """Of the cgroup hierarchy on the nodes."""
        return 2 if self.sh(self.node, "test -e /sys/fs/cgroup/cgroup.controllers").status == 0 else 1

    @property
    def release(self) -> tuple[int, int]:
        """Of Slurm on the nodes."""
        year, month, *_ = self.must(self.node, "slurmd -V").split()[-1].split(".")  # slurm-wlm 24.11.5
        return int(year), int(month)

    @property
    def docker_release(self) -> tuple[int, int]:
        """Of the docker command on the nodes, which is dockerd's there."""
        said = self.must(self.node, "docker --version")  # Docker version 20.10.24+dfsg1, build 297e128
        major, minor, *_ = said.split()[2].split(".")
        return int(major), int(minor)

    @property
    def has_systemd(self) -> bool:
        """Does systemd run the nodes?"""
        return self.sh(self.node, "test -d /run/systemd/system").status == 0

    def sh(self, host: str, script: str, *, user: str = "root", timeout: float = WITHIN, stdin: str = "") -> Done:
        """As Lab.sh."""
        return self.lab.sh(host, script, user=user, timeout=timeout, stdin=stdin)

    def must(self, host: str, script: str, *, user: str = "root", timeout: float = WITHIN, stdin: str = "") -> str:
        """Run a script that has to succeed; its output."""
        done = self.sh(host, script, user=user, timeout=timeout, stdin=stdin)
        assert done.status == 0, f"{host}: {script}\nexit {done.status}\n{done.out}{done.err}"
        return done.out

    def wait(self, host: str, condition: str, what: str, *, within: float = WITHIN) -> None:
        """Until a shell condition holds on a host. Raises TooLate naming what did not come."""
        # Seldom where it takes long: each look is a process or two, which is much on a node in user mode.
        pause = "sleep 0.$n; [ $n = 5 ] || n=$((n + 1))"
        done = self.sh(host, f"n=1; until {condition}; do {pause}; done", timeout=within)
        if done.status != 0:
            raise TooLate(f"{host}: {what} did not come within {within:.0f} s\n{done.err}")

    def _script(self, user: str, script: str, node: str) -> str:
        # Every lab has the user's home on the node; the controller of lab (a) shares it.
        name = f"/home/{user}/{uuid.uuid4().hex[:8]}.sh"
        self.must(node, f"cat > {name}", user=user, stdin=f"#!/bin/bash\n{script}\n")
        return name

    def srun(
        self, script: str, *, user: str = "ann", node: str = "", options: str = "", timeout: float = WITHIN
    ) -> Done:
        """Run a script as a job of its own, with srun, and return its output; the Epilog may still run."""
        node = node or self.node
        name = self._script(user, script, node)
        return self.sh(self.lab.controller, f"srun --quiet -w {node} {options} bash {name}", user=user, timeout=timeout)

    def srun_each(self, scripts: dict[str, str], *, user: str = "ann", options: str = "") -> dict[str, Done]:
        """Run many scripts one after the other in one job; what each printed, by its name."""
        runner = f"""/usr/bin/python3 - <<'EOF'
import json, subprocess
for name, script in {scripts!r}.items():
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, errors="replace")
    print("RESULT", json.dumps([name, done.returncode, done.stdout, done.stderr]), flush=True)
EOF"""
        done = self.srun(runner, user=user, options=options, timeout=300)
        lines = [line.removeprefix("RESULT ") for line in done.out.splitlines() if line.startswith("RESULT ")]
        found = {name: Done(status, out, err) for name, status, out, err in map(json.loads, lines)}
        assert set(found) == set(scripts), done
        return found

    def sbatch(self, script: str, *, user: str = "ann", node: str = "", options: str = "") -> Job:
        """Submit a batch job to a node."""
        node = node or self.node
        name = self._script(user, script, node)
        output = name.replace(".sh", ".out")
        said = self.must(self.lab.controller, f"sbatch --parsable -w {node} -o {output} {options} {name}", user=user)
        return Job(self, int(said.split(";")[0]), node, user, output)

    def run(self, script: str, *, user: str = "ann", node: str = "", options: str = "") -> Job:
        """Submit a batch job and wait for its Epilog."""
        job = self.sbatch(script, user=user, node=node, options=options)
        job.wait()
        return job

    def docker(self, node: str, command: str) -> Done:
        """The jobs' dockerd itself, as root: what an operator can do and a user cannot."""
        return self.sh(node, f"docker -H unix:///run/slurm-hooks-docker/docker.sock {command}")

    def service(self, node: str, verb: str, name: str) -> str:
        """start, stop, kill or restart a daemon: dockerd, broker, containerd, slurmd."""
        if not self.has_systemd:
            return self.must(node, f"/src/tests/labs/compose/service {verb} {name}")
        unit = {"dockerd": "slurm-hooks-docker", "broker": "slurm-hooks-broker"}.get(name, name)
        return self.must(
            node, f"systemctl {verb} --signal=KILL {unit}" if verb == "kill" else f"systemctl {verb} {unit}"
        )

    @contextmanager
    def site(self, node: str, text: str) -> Iterator[None]:
        """slurm-hooks.toml of the node with some tables more; put back afterwards."""
        before = self.must(node, f"cat {CONFIG}")
        self.must(node, f"cat > {CONFIG}; slurm-hooks config >/dev/null", stdin=f"{before}\n{text}\n")
        try:
            yield
        finally:
            self.must(node, f"cat > {CONFIG}; slurm-hooks config >/dev/null", stdin=before)

    def left_on(self, node: str) -> list[str]:
        """Everything of finished jobs that is still on a node, looked at from outside our own code."""
        return self.must(node, "/usr/bin/python3 -IS /src/tests/cluster/left.py").split("\n")[:-1]

    def wait_idle(self, node: str) -> None:
        """Until Slurm has no job on the node and would start one.

        Raises:
            Drained: nothing would come. It is resumed, for the tests after this one.
            TooLate: it did not come.
        """
        state = f'state=$(sinfo -h -n {node} -p main -o %T); [ "$state" != drained ] || exit 1; [ "$state" = idle ]'
        try:
            self.wait(self.lab.controller, f'[ -z "$(squeue -h -w {node})" ] && {{ {state}; }}', f"{node} idle")
        except TooLate:
            if not (reason := self.drain_reason(node)):
                raise
            self.must(self.lab.controller, f"scontrol update nodename={node} state=resume")
            raise Drained(f"{node}: {reason}") from None

    def cancel_all(self) -> None:
        """What the users have running: a test that failed, or a suite that was broken off, may have left it."""
        users = "; ".join(f"scancel --user={user}" for user in self.lab.users)
        self.must(self.lab.controller, f'[ -z "$(squeue -h)" ] || {{ {users}; }}')

    def drain_reason(self, node: str) -> str:
        """What `scontrol show node` says, "" where it is not drained (Slurm keeps an old reason at an idle node)."""
        said = self.must(self.lab.controller, f"scontrol show node {node}")
        if "DRAIN" not in said:
            return ""
        reasons = [line.strip().removeprefix("Reason=") for line in said.splitlines() if "Reason=" in line]
        return reasons[0] if reasons else ""

    def resume(self, node: str) -> None:
        """As an operator does when the node is clean again."""
        self.must(self.lab.controller, f"scontrol update nodename={node} state=resume")
        self.wait_idle(node)


def poll(condition: Any, what: str, *, within: float = WITHIN) -> Any:
    """Call until the result is true; it. Raises TooLate. For what only Python can see."""
    deadline = time.monotonic() + within
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TooLate(f"{what} did not come within {within:.0f} s")
        time.sleep(0.1)
    return result
