# SPDX-License-Identifier: Apache-2.0
"""`docker run` through us and at dockerd itself, and the epilog of many containers against one `docker rm -f`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bench.figures import Bar, Figure
from tests.bench.hooks import EPILOG, FIRST, PROLOG, Step, environment, figure, in_step, running_job, timed, timed_in
from tests.cluster.slurm import Cluster

OURS, DOCKERD = "unix:///run/slurm-hooks/docker.sock", "/run/slurm-hooks-docker/docker.sock"
CLIENT = "/usr/bin/python3 -I /src/tests/bench/client.py"
DOOR = "/run/slurm-hooks-bench"
TMPFS = "rw,nosuid,nodev,exec,mode=1777"
# What the broker asks of dockerd for `docker run --rm img true`, as flags; {cgroup} is the job's.
SAME_FLAGS = (
    "--user 1001:1001 --cap-drop ALL --security-opt no-new-privileges=true --network none --pids-limit 1024 "
    "--read-only --cgroup-parent {cgroup} --cgroupns private --ipc private --no-healthcheck "
    "--log-driver json-file --log-opt max-size=8192k --log-opt max-file=2 --label a=1 --label b=2 "
    f"--tmpfs /tmp:{TMPFS} --tmpfs /var/tmp:{TMPFS} --tmpfs /run:{TMPFS}"
)
AT_ONCE = 4  # `docker run -d` side by side while a job is filled
# A process of ann's in a step of the job, as slurmstepd makes one; it starts the containers and ends.
FILL = """for top in /sys/fs/cgroup/freezer /sys/fs/cgroup/pids /sys/fs/cgroup; do
    [ ! -e $top/cgroup.procs ] || { mkdir -p $top{cgroup}/step_0 && echo $$ > $top{cgroup}/step_0/cgroup.procs; }
done
seq {number} | setpriv --reuid=ann --regid=ann --init-groups --reset-env \\
    xargs -P {at_once} -n 1 sh -c 'docker -H {ours} run {run}' sh"""


@contextmanager
def open_door(cluster: Cluster, node: str, group: str = "ann") -> Iterator[str]:
    """A second name of dockerd's socket that a user's group may use, while the bench runs.

    So both sides of the comparison are the same client of the same user in the same job, and differ in the
    socket alone. The socket's own directory stays closed.
    """
    before = cluster.must(node, f"stat -c 'chown %u:%g {DOCKERD} && chmod %a {DOCKERD}' {DOCKERD}")
    try:
        opened = f"install -d -m 711 {DOOR} && ln -f {DOCKERD} {DOOR}/docker.sock && chown root:{group} {DOCKERD}"
        cluster.must(node, f"{opened} && chmod 660 {DOCKERD}")
        yield f"unix://{DOOR}/docker.sock"
    finally:
        cluster.must(node, f"rm -rf {DOOR}; {before}")


def docker_run(cluster: Cluster, rounds: int) -> Iterator[Figure]:
    """`docker run --rm img true`, both ways from within one job."""
    with open_door(cluster, cluster.node) as door, running_job(cluster) as job:
        flags = SAME_FLAGS.format(cgroup=job.cgroup).split()
        ours: Step = {"name": "ours", "argv": ["docker", "-H", OURS, "run", "--rm", "img", "true"]}
        same: Step = {"name": "direct", "argv": ["docker", "-H", door, "run", "--rm", *flags, "img", "true"]}
        times = timed_in(job, rounds, ours, same)
    yield figure("docker run --rm img true / the same flags at dockerd", times, "ours", "direct", Bar(ratio=1.10))


def attached(cluster: Cluster, rounds: int) -> Iterator[Figure]:
    """How fast an attached client gets what a container prints, both ways; dockerd keeps no log of it."""
    number = 512 << 20  # bytes
    command = ["img", "head", "-c", str(number), "/dev/zero"]
    with open_door(cluster, cluster.node) as door, running_job(cluster) as job:
        flags = SAME_FLAGS.replace(" json-file --log-opt max-size=8192k --log-opt max-file=2", " none")
        ours = ["docker", "-H", OURS, "run", "--rm", "--log-driver", "none", *command]
        same = ["docker", "-H", door, "run", "--rm", *flags.format(cgroup=job.cgroup).split(), *command]
        words = shlex.join(["stream", str(rounds), str(number), json.dumps(ours), json.dumps(same)])
        times = in_step(job, f"{CLIENT} {words}")
    yield figure("512 MiB through an attached stream / at dockerd", times, "ours", "direct", Bar(ratio=1.25))


@contextmanager
def roomy(cluster: Cluster) -> Iterator[None]:
    """A site whose jobs may have 250 containers, and all their processes in one of them."""
    conf = "/etc/slurm-hooks/slurm-hooks.toml"
    try:
        cluster.must(
            cluster.node, f"cp {conf} {conf}.bench; printf '[container]\nnumber = 250\npids_max = 4096\n' >> {conf}"
        )
        yield
    finally:
        cluster.must(cluster.node, f"mv {conf}.bench {conf}")


def many_ps(cluster: Cluster, rounds: int) -> Iterator[Figure]:
    """The slowest hundredth of `docker ps` by 50 clients at once in a job with 200 containers, both ways."""
    node = cluster.node
    with roomy(cluster), open_door(cluster, node) as door, running_job(cluster, "--mem=3900") as job:
        fill = f"seq 200 | xargs -P {AT_ONCE} -n 1 sh -c 'docker -H {OURS} run -d img sleep 3600' sh"
        in_step(job, f'{{ {fill}; }} >/dev/null && echo "{{}}"')
        key = cluster.must(node, f"ls /run/slurm-hooks/jobs | grep ^{job.id}-").strip()
        filters = json.dumps({"label": [f"slurm-hooks.job={key}"]})
        paths = [OURS.removeprefix("unix://"), door.removeprefix("unix://")]
        times = in_step(job, f"{CLIENT} {shlex.join(['ps', str(rounds), '50', *paths, filters])}")
    yield figure("p99 of docker ps, 200 containers, 50 clients / at dockerd", times, "ours", "direct", Bar(ratio=2.0))


def epilogs(cluster: Cluster, number: int, rounds: int, bar: Bar) -> Iterator[Figure]:
    """The epilog of a job with so many running containers against one `docker rm -f` of as many."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(rounds):
        for side in ("ours", "theirs") if turn % 2 == 0 else ("theirs", "ours"):
            times[side].append(ended(cluster, number, side=side, job=FIRST + 1000 * number + turn))
    yield figure(f"epilog of {number} / docker rm -f of {number}", times, "ours", "theirs", bar)


@dataclass(frozen=True)
class Filled:
    """A job that Slurm does not know, with running containers."""

    cluster: Cluster
    number: int
    cgroup: str
    epilog: Step

    def seconds(self, *instead: str) -> float:
        """What its Epilog takes, or a command that is run before it."""
        node, steps = self.cluster.node, [self.epilog]
        if instead:
            steps.insert(0, {"name": "instead", "argv": [*instead]})
        return timed(self.cluster, node, 1, *steps)["instead" if instead else "epilog"][0]

    def ids(self) -> list[str]:
        """Of its containers."""
        found = self.cluster.docker(self.cluster.node, "ps -q --filter label=slurm-hooks.job").out.split()
        assert len(found) == self.number, f"{len(found)} containers where {self.number} were started"
        return found


@contextmanager
def filled(cluster: Cluster, number: int, job: int, run: str = "-d img sleep 600") -> Iterator[Filled]:
    """Open a job and start containers in it, each by `docker run` with these words; its end must leave nothing."""
    node = cluster.node
    environ = environment(str(job), node)
    before = cluster.left_on(node)  # foreign ones
    timed(cluster, node, 1, {"argv": [PROLOG], "environ": environ})
    record = f'sed -n \'s/.*"cgroup": *"\\([^"]*\\)".*/\\1/p\' /run/slurm-hooks/jobs/{job}-*/job'
    cgroup = cluster.must(node, record).strip()
    values = {"cgroup": cgroup, "number": number, "at_once": AT_ONCE, "ours": OURS, "run": run}
    fill = FILL
    for name, value in values.items():
        fill = fill.replace(f"{{{name}}}", str(value))
    cluster.must(node, f"sh -s <<'EOF'\n{fill}\nEOF", timeout=300)
    yield Filled(cluster, number, cgroup, {"name": "epilog", "argv": [EPILOG], "environ": environ})
    assert (left := set(cluster.left_on(node)).difference(before)) == set(), sorted(left)[:5]


def ended(cluster: Cluster, number: int, *, side: str, job: int) -> float:
    """Fill a job with containers and end them; the seconds that this took."""
    with filled(cluster, number, job) as made:
        ids = made.ids()
        remove = ("docker", "-H", f"unix://{DOCKERD}", "rm", "-f", *ids)
        return made.seconds(*(() if side == "ours" else remove))
