# SPDX-License-Identifier: Apache-2.0
"""A shell in a job that is told line after line what to do, as one that a user types in; and what is typed elsewhere.

Its variables, its directory and its containers stay from one command to the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.slurm import MISSED_EVENT, Cluster, Job
from tests.labs.base import Done

# Two pipes: what is to be done is there, and it is done. A pipe is opened anew for each, so the writer waits for the
# reader. What a command prints is read when it has ended: a container that it left behind may hold the file open.
SHELL = """mkfifo .typed/in .typed/out
while read -r word <.typed/in && [ "$word" = go ]; do
    . .typed/command >.typed/said 2>&1 </dev/null
    echo $? >.typed/out
done"""
ROOTS = "/run/pages"  # where root types
NUMBER = "4711"  # on a page: the job that was submitted last
CGROUP = f"job_{NUMBER}"  # and its cgroup, which Slurm from 26.05 on calls otherwise
# What docker says below an error from 28 on; on the pages is what it said before.
HINT = re.compile(r"^\nRun '(docker \w+ --help)' for more information$", re.MULTILINE)


class Typed:
    """A user's page of commands on a cluster: on the login node, in a job, as root on the node."""

    def __init__(self, cluster: Cluster, *, options: str, user: str = "ann") -> None:
        self.cluster, self.options, self.user = cluster, options, user
        self.top = f"/home/{user}/pages"
        self.number = 0
        self.cgroup = CGROUP  # the last part of its path
        self.job: Job | None = None
        cluster.must(cluster.node, f"mkdir -p {ROOTS}")
        self._on_node(f"rm -rf {self.top}; mkdir -p {self.top}/.typed")

    def file(self, name: str, text: str) -> None:
        """As an editor writes it, where commands run."""
        self._on_node(f"cat >{self.top}/{name}", stdin=text)

    def say(self, who: str, command: str) -> Done:
        """What a command printed, on both streams; status 124: it took too long. `who` is as in pages.Command."""
        if who == "job" or (NUMBER in command and not self.number):
            self._begin()
        command = command.replace(CGROUP, self.cgroup).replace(NUMBER, str(self.number))
        if who == "root":
            done = self._bash(self.cluster.node, "root", ROOTS, command)
        elif who == "login":
            done = self._bash(self.cluster.lab.controller, self.user, self.top, command)
        else:
            script = (
                f"cd {self.top}; cat >.typed/command\n"
                "echo go >.typed/in; read -r status <.typed/out; cat .typed/said; exit $status"
            )
            done = self.cluster.sh(self.cluster.node, script, user=self.user, stdin=command)
        if submitted := re.search(r"^Submitted batch job (\d+)$", done.out, re.MULTILINE):
            self.number, self.cgroup = int(submitted[1]), f"job_{submitted[1]}"
        mine = rf"""((?:[Jj]ob[ _]|"job": |report |slurm-)){self.number}\b|\b{self.number}(?=-\d+-[0-9a-f]{{8}}\b)"""
        out = re.sub(mine, rf"\g<1>{NUMBER}", re.sub(rf"\b{self.cgroup}\b", CGROUP, done.out))
        out = HINT.sub(r"See '\1'.", out)
        return Done(done.status, out, done.err)

    def end(self) -> None:
        """The job, where there was one; and the files."""
        if self.job is not None:
            self.job.cancel()
            self.job.wait()
        self._on_node(f"rm -rf {self.top}")
        self.cluster.must(self.cluster.node, f"rm -r {ROOTS}")

    def _begin(self) -> None:
        if self.job is None:
            options = f"--chdir={self.top} {self.options}"
            self.job = self.cluster.sbatch(SHELL, user=self.user, options=options)
            self.cluster.wait(self.job.node, f"[ -p {self.top}/.typed/out ]", "the shell in the job")
            self.number, self.cgroup = self.job.id, self.job.cgroup.rpartition("/")[2]

    def _on_node(self, script: str, stdin: str = "") -> None:
        self.cluster.must(self.cluster.node, script, user=self.user, stdin=stdin)

    def _bash(self, host: str, user: str, directory: str, command: str) -> Done:
        done = self.cluster.sh(host, f'cd {directory} && exec bash -c "$(cat)" 2>&1', user=user, stdin=command)
        return Done(done.status, MISSED_EVENT.sub("", done.out), done.err)


@contextmanager
def typed(cluster: Cluster, *, options: str) -> Iterator[Typed]:
    """Nothing of it is left afterwards."""
    page = Typed(cluster, options=options)
    try:
        yield page
    finally:
        page.end()
