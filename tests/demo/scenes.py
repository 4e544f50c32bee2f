# SPDX-License-Identifier: Apache-2.0
"""The seven scenes. Each looks at the node from outside our own code: /proc, cgroupfs, dockerd, Slurm."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from tests.bench.hooks import hooks
from tests.cluster.slurm import Cluster, Job, poll
from tests.demo.story import Story

HUNG = "/usr/bin/python3 /src/tests/labs/hung_fs.py /mnt/hung"
BOMB = "bomb() { bomb | bomb & }; bomb"
LOOP = """/usr/bin/python3 -c '
import time
while True:
    began = time.perf_counter()
    sum(range(2_000_000))
    print("took", time.perf_counter() - began, flush=True)
'"""


@dataclass
class Demo:
    """The cluster, the teller, and the jobs that were run, for the last scene."""

    cluster: Cluster
    story: Story
    jobs: dict[str, Job] = field(default_factory=dict)

    @property
    def node(self) -> str:
        """Where it happens."""
        return self.cluster.node

    def pids(self, job: Job, file: str) -> str:
        """A file of the pids controller in the job's cgroup."""
        hierarchy = "/pids" if self.cluster.version == 1 else ""
        return self.cluster.must(self.node, f"cat /sys/fs/cgroup{hierarchy}{job.cgroup}/{file}").strip()

    def facts(self, container: str) -> dict[str, str]:
        """What the kernel says of a container's first process."""
        pid = self.cluster.docker(self.node, f"inspect -f '{{{{.State.Pid}}}}' {container}").out.strip()
        lines = self.cluster.must(self.node, f"cat /proc/{pid}/status").splitlines()
        status = dict(line.split(":\t", 1) for line in lines)
        pattern, hierarchy = (":pids:", "/pids") if self.cluster.version == 1 else ("0::", "")
        path = self.cluster.must(self.node, f"grep {pattern} /proc/{pid}/cgroup").strip().split(":", 2)[2]
        return {
            "uid": status["Uid"].split()[0],
            "CapEff": status["CapEff"],
            "CapBnd": status["CapBnd"],
            "NoNewPrivs": status["NoNewPrivs"],
            "Seccomp": status["Seccomp"],
            "cgroup": path.rpartition("/")[0] + "/" + path.rpartition("/")[2][:12],
            "pids.max": self.cluster.must(self.node, f"cat /sys/fs/cgroup{hierarchy}{path}/pids.max").strip(),
            "root": self.cluster.must(self.node, f"awk '$5 == \"/\" {{print $6}}' /proc/{pid}/mountinfo").split(",")[0],
        }

    def containers(self) -> list[str]:
        """Ids of the running containers that belong to jobs."""
        return self.cluster.docker(self.node, "ps -q --filter label=slurm-hooks.job").out.split()


def a_job_without_containers(demo: Demo) -> None:
    story = demo.story
    story.scene(1, "A job without containers", "The hooks bound it, tell it where its Docker is, and cost it little.")
    script = "srun hostname"
    job = demo.jobs["without containers"] = demo.cluster.sbatch(script)
    story.typed(f"sbatch --wrap '{script}'")
    verdict = job.wait()["verdict"]
    story.seen(job.output)
    prolog = job.events("prolog")[0]
    story.check(prolog["effective"] >= 4096, f"pids.max of {prolog['cgroup']} was {prolog['pids']}: {prolog['why']}")
    story.check(verdict == "clean", "its Epilog looked and found nothing left")
    story.wait("the hooks' wall time, against an interpreter that does nothing")
    for figure in hooks(demo.cluster, 15):
        story.check(figure.ratio < 3, f"{figure.name}: {figure.ratio:.2f} times")


def docker_run_in_a_job(demo: Demo) -> None:
    story, cluster = demo.story, demo.cluster
    story.scene(
        2, "docker run in a job", "Nothing special is typed. What the kernel says of it, read on the node; beside it a",
        "container of plain docker, started by root.",
    )  # fmt: skip
    script = "docker run --rm img id\ndocker run -d --name solver -v $HOME:/work -w /work img sleep 600"
    story.typed(f"cat job.sh\n{script}")
    job = demo.jobs["docker run"] = cluster.sbatch(f"{script}; echo started; sleep 600", options="--mem=500")
    job.wait_for_output("started")
    story.seen(job.output.replace("started", ""))
    plain = cluster.docker(demo.node, "run -d --network none img sleep 600").out.strip()
    try:
        running = demo.containers()
        story.check(bool(running), "dockerd has a container of the job")
        ours, theirs = demo.facts(running[0]), demo.facts(plain)
        story.table(("read on the node", "in the job", "plain docker"), [(k, ours[k], theirs[k]) for k in ours])
    finally:
        cluster.docker(demo.node, f"rm -f {plain}")
    story.check(ours["uid"] == "1001", "it runs as ann, not as root")
    story.check(int(ours["CapEff"], 16) == int(ours["CapBnd"], 16) == 0, "it has no capability and can get none")
    story.check(ours["NoNewPrivs"] == "1" and ours["Seccomp"] == "2", "no new privileges, system calls filtered")
    story.check(ours["cgroup"].startswith(f"{job.cgroup}/"), f"it lies below the job's own cgroup, {job.cgroup}")
    story.check(ours["pids.max"] == "1024" and theirs["pids.max"] == "max", "its processes are bounded; plain ones not")
    job.cancel()
    job.wait()


def a_fork_bomb(demo: Demo) -> None:
    story, cluster = demo.story, demo.cluster
    story.scene(
        3, "A fork bomb, in a container and in the job script", "A neighbour computes on the same node meanwhile."
    )
    neighbour = cluster.sbatch(LOOP, user="bob", options="--mem=100")
    neighbour.wait_for_output("took")
    before = speed(neighbour)
    for name, script in (
        ("bomb in a container", f"docker run -d img sh -c '{BOMB}; sleep 600'"),
        ("bomb in the script", BOMB),
    ):
        story.typed(f'sbatch -p small --wrap "{script}"')
        job = demo.jobs[name] = cluster.sbatch(f"{script} 2>/dev/null; sleep 600", options="-p small --mem=400")
        poll(lambda job=job: job.events("prolog"), "the prolog")
        limit = int(demo.pids(job, "pids.max"))
        poll(lambda job=job, limit=limit: int(demo.pids(job, "pids.current")) > limit * 0.75, "a bomb that has grown")
        current = [int(demo.pids(job, "pids.current")) for _ in range(5)]
        during = speed(neighbour)
        story.check(max(current) <= limit, f"held: pids.current {max(current)} of pids.max {limit} in {job.cgroup}")
        story.check(during / before > 0.4, f"the neighbour's speed beside it: {during / before:.2f} of before")
        job.cancel()
        story.check(job.wait()["verdict"] == "clean", "and it ended with its job")
    neighbour.cancel()
    neighbour.wait()


def speed(job: Job) -> float:
    """Loops a second, by the next six loops of the neighbour."""
    seen = job.output.count("took")
    poll(lambda: job.output.count("took") >= seen + 7, "the neighbour's loops")
    times = [float(line.split()[1]) for line in job.output.splitlines() if line.startswith("took")]
    return 1 / statistics.median(times[-6:])


REFUSED = (
    ("docker run --rm --privileged img id", "--privileged: "),
    ("docker run --rm -v /etc:/x img id", "-v /etc: "),
    ("docker run --rm --pid=host img id", "--pid=host: "),
    ("docker run --rm --cgroup-parent=/ img id", "--cgroup-parent=/: "),
    ("echo FROM img | DOCKER_BUILDKIT=0 docker build -", "docker build: "),
)


def refusals(demo: Demo) -> None:
    story = demo.story
    story.scene(4, "What is refused", "In one line: the flag, the rule, what to do instead.")
    results = demo.cluster.srun_each({script: script for script, _ in REFUSED})
    for script, words in REFUSED:
        story.typed(script)
        lines = [line for line in results[script].err.splitlines() if words in line]
        story.seen("\n".join(lines))
        story.check(len(lines) == 1 and "uid=" not in results[script].out, "refused, and nothing ran")


def ends(demo: Demo, limited: Job) -> None:
    story, cluster = demo.story, demo.cluster
    story.scene(5, "scancel with containers running, and a job at its time limit", "Looked at from outside afterwards.")
    script = "for i in 1 2 3; do docker run -d -v $HOME:/w img sleep 600; done"
    story.typed(f"{script}; sleep 600")
    job = demo.jobs["scancel"] = cluster.sbatch(f"{script}; echo started; sleep 600", options="--mem=400")
    job.wait_for_output("started")
    story.check(len(demo.containers()) >= 3, f"{len(demo.containers())} containers run in jobs")
    story.typed(f"scancel {job.id}")
    job.cancel()
    event = job.wait()
    story.check(event["verdict"] == "clean", f"its Epilog ended them in {event['seconds']:.2f} s")
    story.wait("the other job, with a container, has a time limit of one minute")
    event = poll(lambda: limited.events("epilog"), "the time limit", within=150)[-1]
    state = cluster.must(cluster.lab.controller, f"scontrol show job {limited.id} | grep -o 'JobState=[A-Z]*'").strip()
    story.check("TIMEOUT" in state and event["verdict"] == "clean", f"{state}, and its container with it")
    nothing_left(demo)


def nothing_left(demo: Demo) -> None:
    """Containers, shims, stages, job cgroups: looked for with the shell's own tools."""
    for node in demo.cluster.lab.nodes:
        demo.cluster.wait_idle(node)
        left = demo.cluster.left_on(node)
        demo.story.check(
            not left, f"{node}: no container, shim, mount or cgroup of a job is left {left or ''}".rstrip()
        )


def what_cannot_be_ended(demo: Demo) -> None:
    story, cluster = demo.story, demo.cluster
    story.scene(
        6, "What cannot be ended",
        "A container reads from a file server that took its request and never answers, so its process waits in",
        "the kernel and no signal ends it. (A FUSE server of forty lines, as NFS hangs: tests/labs/hung_fs.py)",
    )  # fmt: skip
    cluster.must(demo.node, f"{HUNG} --daemon")
    try:
        script = "docker run -d -v /mnt/hung:/data img cat /data/stuck"
        story.typed(script)
        job = demo.jobs["hung"] = cluster.sbatch(f"{script}; echo started; sleep 600", options="--mem=400")
        job.wait_for_output("started")
        story.typed(f"scancel {job.id}")
        job.cancel()
        story.wait("the Epilog tries for twenty seconds")
        job.wait()
        cluster.wait(cluster.lab.controller, f"sinfo -h -n {demo.node} -o %T | grep -q drain", "the node drained")
        reason = cluster.drain_reason(demo.node)
        story.typed(f"scontrol show node {demo.node} | grep Reason", who="root")
        story.seen(reason)
        story.check(f"job {job.id} (ann) left pid" in reason and "state D" in reason, "it names job, process and state")
    finally:
        cluster.must(demo.node, f"{HUNG} --stop")
    story.wait("the file server is back")
    story.typed(f"slurm-hooks epilog {job.id}", who="root")
    again = cluster.sh(demo.node, f"slurm-hooks epilog {job.id}")
    story.seen(again.out + again.err)
    story.check(again.status == 0, "clean")
    story.typed(f"scontrol update nodename={demo.node} state=resume", who="root")
    cluster.resume(demo.node)
    state = cluster.must(cluster.lab.controller, f"sinfo -h -n {demo.node} -p main -o %T").strip()
    story.check(state == "idle", f"{demo.node} is {state} again")


def reports(demo: Demo) -> None:
    story = demo.story
    story.scene(7, "What happened in these jobs", "From the hooks' own events, on the node.")
    for name in ("without containers", "docker run", "bomb in a container", "hung"):
        job = demo.jobs[name]
        story.typed(f"slurm-hooks report {job.id}        # {name}", who="root")
        said = demo.cluster.must(demo.node, f"slurm-hooks report {job.id}")
        story.seen(said)
        story.check("epilog" in said, "to its end")
