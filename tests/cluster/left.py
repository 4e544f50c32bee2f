# SPDX-License-Identifier: Apache-2.0
"""Everything of jobs that is on a node, a line each: containers, networks, shims, stages, job cgroups. Runs there.

Not with our own detectors, and in one process: a docker command is half a second of a node in user mode, and this is
asked after each test.
"""

import os
import re
import socket

DOCKER = "/run/slurm-hooks-docker/docker.sock"
STAGES = "/run/slurm-hooks/stage"


def ids(path: str) -> list[str]:
    """Of what dockerd lists as jobs'; none where it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as dockerd:
            dockerd.settimeout(20)
            dockerd.connect(DOCKER)
            filters = "filters=%7B%22label%22%3A%5B%22slurm-hooks.job%22%5D%7D"  # {"label":["slurm-hooks.job"]}
            dockerd.sendall(f"GET {path}?all=1&{filters} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            answer = b"".join(iter(lambda: dockerd.recv(1 << 16), b""))
    except OSError:
        return []
    return [found.decode()[:12] for found in re.findall(rb'"Id":"([0-9a-f]{64})"', answer)]


def shims() -> list[str]:
    """Their command lines."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "containerd-shim" in command.partition(" ")[0]:
            found.append(f"{pid} {command.strip()}")
    return found


def below(top: str, pattern: str) -> list[str]:
    """What has such a name in a tree."""
    return [
        f"{path}/{name}" for path, names, files in os.walk(top) for name in names + files if re.match(pattern, name)
    ]


def of_jobs() -> list[str]:
    """Cgroups of jobs, by their names; right below Slurm's scope all but its own: 26.05 names jobs otherwise."""
    return [
        f"{path}/{name}"
        for path, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if re.match("(job|uid)_", name) or (path.endswith("slurmstepd.scope") and name not in ("system", "slurmd"))
    ]


def main() -> None:
    """Print them."""
    with open("/proc/self/mountinfo") as file:
        mounts = re.findall(rf" ({STAGES}/\S+)", file.read())
    kinds = {
        "container": ids("/containers/json"),
        "network": ids("/networks"),
        "bridge": [name for name in os.listdir("/sys/class/net") if name.startswith("shn")],
        "shim": shims(),
        "mount": mounts,
        "stage": below(STAGES, ""),
        "cgroup": of_jobs(),
    }
    for kind, found in kinds.items():
        for one in found:
            print(kind, one)


if __name__ == "__main__":
    main()
