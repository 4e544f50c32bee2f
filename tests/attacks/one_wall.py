# SPDX-License-Identifier: Apache-2.0
"""Root with every capability in a container that has one wall left, made by dockerd for root: what it tries there.

No job gets such a container. It shows that a wall holds alone, and by the same without it that each attack is one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from slurm_hooks.knobs import proc
from tests.cluster.slurm import Cluster

READ = ["/proc/kcore", "/proc/kmsg", "/dev/mem", "/dev/kmsg", "/sys/kernel/security", *proc.MASKED_PATHS]
# The node's Python in the image, whose /bin stays. The program is copied: what the lab shares with the machine has no
# labels of SELinux.
RUN = """sleep 600 & other=$!; at=$(mktemp -d); trap 'kill -KILL $other; rm -r $at' EXIT
chmod 755 $at; cp /src/tests/attacks/privileged.py $at
docker -H unix:///run/slurm-hooks-docker/docker.sock run --rm --pid host --network none --tmpfs /mnt --tmpfs /tmp \\
    -v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro -v $at:/src:ro """


@dataclass(frozen=True)
class Tried:
    """What became of each, by its name: "" where it was done, else the error's name."""

    works: dict[str, str]  # what programs do
    attacks: dict[str, str]

    @property
    def denied(self) -> set[str]:
        """The attacks that a wall has denied."""
        return {name for name, error in self.attacks.items() if error in ("EACCES", "EPERM")}

    @property
    def done(self) -> set[str]:
        """The attacks that were done."""
        return {name for name, error in self.attacks.items() if not error}


def tried(cluster: Cluster, options: str) -> Tried:
    """Try it all in a container of these options of docker run."""
    program = f"/usr/bin/python3 -I /src/privileged.py $other {' '.join(READ)}"
    done = cluster.sh(cluster.node, f"{RUN} {options} img {program}")
    assert done.status == 0, done
    return Tried(**json.loads(done.out))
