# SPDX-License-Identifier: Apache-2.0
"""What of jobs is on a node, asked of the kernel, of dockerd and of containerd's files. Runs on the node, as root.

It shares no code with the product, nor its records: a job is known by its cgroup's name and by its user.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DOCKER = "/run/slurm-hooks-docker/docker.sock"
DATA = "/var/lib/slurm-hooks-docker"
STAGES = "/run/slurm-hooks/stage"
RECORDS = "/run/slurm-hooks/jobs"
# containerd's bundles, runc's states, network namespaces of dockerd: one entry a container, named after it.
PLACES = (
    "/run/containerd/io.containerd.runtime.v2.task/*/*",
    "/run/containerd/runc/*/*",
    "/run/runc/*",
    "/run/docker/runtime-runc/*/*",
    "/run/slurm-hooks-docker/exec/runtime-runc/*/*",
    "/run/slurm-hooks-docker/netns/*",
    "/run/slurm-hooks-docker/exec/netns/*",
)
REGISTRY = 5005  # its port on the loopback, in rounds with a pull (pulls.py)
JOB = re.compile(r"/job_(\d+)(?:/|$)")
CONTAINER = re.compile(r"[0-9a-f]{64}")


@dataclass
class Innocent:
    """What may be on the node: jobs by id, containers by id, processes by pid."""

    jobs: set[int] = field(default_factory=set)
    containers: set[str] = field(default_factory=set)
    pids: set[int] = field(default_factory=set)
    uids: tuple[int, ...] = (1001, 1002)  # the labs' users


def look(innocent: Innocent, *, dockerd: bool = True) -> list[str]:
    """A line for each thing that is there and may not be; dockerd is asked unless told not to."""
    found = [*cgroups(innocent), *processes(innocent), *mounts(innocent), *files(innocent), *pulls()]
    return sorted({*found, *(containers(innocent) if dockerd else ())})


def cgroups(innocent: Innocent) -> list[str]:
    """Of jobs, and of containers, in every hierarchy; on v1 the users' own above them too."""
    found = []
    for top, names, _ in os.walk("/sys/fs/cgroup"):
        for name in names:
            path = f"{top}/{name}"
            if job := JOB.search(path):
                bad = JOB.fullmatch(f"/{name}") is not None and int(job[1]) not in innocent.jobs
            else:
                bad = CONTAINER.fullmatch(name) is not None and name not in innocent.containers
            if bad or (name.startswith("uid_") and not _has_job(path)):
                found.append(f"cgroup {path}")
    return found


def _has_job(path: str) -> bool:
    return any(name.startswith("job_") for name in os.listdir(path))


def processes(innocent: Innocent) -> list[str]:
    """In a job's cgroup, or of a user of jobs wherever they are, or a shim or runc of a container."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in innocent.pids:
            continue
        try:
            uid = os.stat(f"/proc/{name}").st_uid
            places = Path(f"/proc/{name}/cgroup").read_text()
            words = Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # gone
        ids = {int(one[1]) for one in map(JOB.search, places.splitlines()) if one}
        if state in "ZX" or (ids and ids <= innocent.jobs):
            continue
        if ids or uid in innocent.uids:
            found.append(f"process {name} uid {uid} state {state}: {words[:80]} in {places.splitlines()[-1]}")
        elif words.startswith(("/usr/bin/containerd-shim", "containerd-shim", "runc")) and not any(
            one in innocent.containers for one in CONTAINER.findall(words)
        ):
            found.append(f"runtime {name}: {words[:160]}")
    return found


def mounts(innocent: Innocent) -> list[str]:
    """Stages, and roots of containers, in whatever mount namespace has them."""
    found: set[str] = set()
    seen = set()
    allowed = _roots(innocent)
    for name in os.listdir("/proc"):
        try:
            if not name.isdigit() or (namespace := os.readlink(f"/proc/{name}/ns/mnt")) in seen:
                continue
            seen.add(namespace)
            points = [line.split()[4] for line in Path(f"/proc/{name}/mountinfo").read_text().splitlines()]
        except OSError:
            continue
        for point in points:
            staged = point.startswith(f"{STAGES}/") and not _is_of(point.removeprefix(f"{STAGES}/"), innocent)
            if staged or (point.startswith(f"{DATA}/overlay2/") and point not in allowed):
                found.add(f"mount {point}")
    return list(found)


def _roots(innocent: Innocent) -> set[str]:
    """Where the roots of those that may be there are mounted, by containerd's bundles."""
    roots = set()
    for container in innocent.containers:
        for path in Path("/run/containerd/io.containerd.runtime.v2.task").glob(f"*/{container}/config.json"):
            roots.add(str(json.loads(path.read_text())["root"]["path"]))
    return roots


def _is_of(name: str, innocent: Innocent) -> bool:
    """Records and stages are named <job>-<restart>-<boot>[.<container>]."""
    return name.partition("-")[0] in map(str, innocent.jobs)


def files(innocent: Innocent) -> list[str]:
    """Stage directories, records, and what the container's runtimes keep of one that runs."""
    found = [f"stage {path}" for path in Path(STAGES).glob("*") if not _is_of(path.name, innocent)]
    found += [f"record {path}" for path in Path(RECORDS).glob("*") if not _is_of(path.name, innocent)]
    for place in PLACES:
        for path in Path("/").glob(place[1:]):
            if CONTAINER.fullmatch(path.name) and path.name not in innocent.containers:
                found.append(f"state {path}")
    return found


def pulls() -> list[str]:
    """Connections to the campaign's registry: dockerd ends a pull that nobody waits for any more, not at once."""
    deadline = time.monotonic() + 2.0
    while (found := _connections()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [f"pull {one}" for one in found]


def _connections() -> list[str]:
    """Established ones at the registry's side (proc_net_tcp(5): local address, remote address, state 01)."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return [row[2] for row in rows if row[1] == f"0100007F:{REGISTRY:04X}" and row[3] == "01"]


def containers(innocent: Innocent) -> list[str]:
    """As dockerd lists them: whoever's they are."""
    return [
        f"container {one['Id'][:12]} {one['State']} of job {one['Labels'].get('slurm-hooks.job', 'none')}"
        for one in ask("/containers/json?all=1")
        if one["Id"] not in innocent.containers
    ]


def ask(path: str, seconds: float = 10.0) -> Any:
    """dockerd's answer to a GET. Raises OSError where it does not answer."""
    line = http.client.HTTPConnection("localhost")
    line.sock = socket.socket(socket.AF_UNIX)
    line.sock.settimeout(seconds)
    try:
        line.sock.connect(DOCKER)
        line.request("GET", path)
        return json.loads(line.getresponse().read())
    finally:
        line.close()
