# SPDX-License-Identifier: Apache-2.0
"""A registry on a node's loopback: Debian's docker-registry, one store behind an open door and one with a password.

dockerd takes a registry of 127.0.0.0/8 without TLS, so nothing of its configuration is changed for it.
"""

from __future__ import annotations

import json

from tests.cluster.slurm import Cluster

OPEN, LOCKED = "127.0.0.1:5000", "127.0.0.1:5001"
USER, PASSWORD = "ann", "open sesame: ü"
TOP = "/var/lib/lab-registry"
CONFIG = """version: 0.1
log: {{accesslog: {{disabled: false}}, level: warn}}
storage: {{filesystem: {{rootdirectory: {top}/store}}, delete: {{enabled: true}}}}
http: {{addr: {address}}}
{auth}
"""
AUTH = f"auth: {{{{htpasswd: {{{{realm: lab, path: {TOP}/htpasswd}}}}}}}}"


class Registry:
    """The two of them on a node, started once, ended with `stop`."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self.cluster, self.node = cluster, node

    def start(self) -> None:
        """Idempotent; returns when both answer."""
        self.stop()
        # libxcrypt knows bcrypt, which is all that docker-registry takes; perl is on every Debian.
        hashed = self.cluster.must(
            self.node,
            f"mkdir -p {TOP}; perl -e 'print crypt($ARGV[0], q($2y$05$abcdefghijklmnopqrstuu))' \"$(cat)\"",
            stdin=PASSWORD,
        )
        self._write("htpasswd", f"{USER}:{hashed}\n")
        for address, auth in ((OPEN, ""), (LOCKED, AUTH)):
            port = address.partition(":")[2]
            self._write(f"{port}.yml", CONFIG.format(top=TOP, address=address, auth=auth.format()))
            self.cluster.must(
                self.node,
                f"setsid --fork sh -c 'echo $$ >{TOP}/{port}.pid; exec docker-registry serve {TOP}/{port}.yml'"
                f" </dev/null >>{TOP}/{port}.log 2>&1",
            )
            self.cluster.wait(
                self.node, f"bash -c '</dev/tcp/127.0.0.1/{port}' 2>/dev/null", f"the registry at {address}"
            )

    def stop(self) -> None:
        """End both, and forget what they hold."""
        self.cluster.sh(self.node, f"for p in {TOP}/*.pid; do kill $(cat $p); done; rm -rf {TOP}")

    def _write(self, name: str, text: str) -> None:
        self.cluster.must(self.node, f"cat >{TOP}/{name}", stdin=text)

    def push(self, image: str, repository: str) -> str:
        """Give an image of the node to the registry as `repository` and take that name away again; its digest."""
        name = f"{OPEN}/{repository}"
        for command in (f"tag {image} {name}", f"push -q {name}"):
            done = self.cluster.docker(self.node, command)
            assert done.status == 0, done
        digests = json.loads(self.cluster.docker(self.node, f"image inspect -f '{{{{json .RepoDigests}}}}' {name}").out)
        self.cluster.docker(self.node, f"rmi {name}")
        where = name.rpartition(":")[0]
        return str(next(digest.partition("@")[2] for digest in digests if digest.startswith(f"{where}@")))

    def fetched(self, port: str = "5000") -> list[str]:
        """The paths of blobs that were read, from the access log, in order."""
        log = self.cluster.must(self.node, f"grep -ho 'GET /v2/[^ ]*/blobs/[^ ]*' {TOP}/{port}.log || true")
        return [line.split()[1] for line in log.splitlines()]
