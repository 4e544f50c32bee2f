# SPDX-License-Identifier: Apache-2.0
"""dockerd itself: does it answer, who may speak to it, what does it tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.knobs.node import Finding, Node, in_dockerd
from slurm_hooks.needs import hosts

CLOSED = "The broker is to be the only way to it: who speaks to dockerd is root on the node"


def check(node: Node) -> Iterable[Finding]:
    """The jobs' dockerd, and others of the node where they open it."""
    if not node.info:
        yield Finding(
            "dockerd-away", "wrong", "dockerd", f"dockerd at {node.site.docker.socket} does not answer",
            "no container starts, and an Epilog of a job that has some drains the node",
            "Run: systemctl start slurm-hooks-docker; systemctl status slurm-hooks-docker containerd.",
        )  # fmt: skip
    yield from _listening(node)
    yield from _sockets(node)
    yield from _members(node)
    options = node.dockerd.options
    if node.info.get("Debug") or options.get("debug") or options.get("log-level", "info") in ("debug", "trace"):
        yield Finding(
            "dockerd-debug", "weak", "dockerd", "dockerd logs for debugging",
            "bodies of requests come into the journal, with what users put into the environment of their containers",
            in_dockerd(node, "dockerd-debug"),
        )  # fmt: skip
    if node.info.get("ExperimentalBuild"):
        yield Finding(
            "dockerd-experimental", "weak", "dockerd", "dockerd's experimental features are on",
            "they are not supported upstream, and none was tried here", in_dockerd(node, "dockerd-experimental"),
        )  # fmt: skip


def _listening(node: Node) -> Iterable[Finding]:
    for daemon in (node.dockerd, *node.others):
        where = [*daemon.tcp, *(host for host in hosts(daemon.options) if host.startswith("tcp:"))]
        if where and (daemon is node.dockerd or not daemon.options.get("tlsverify")):
            yield Finding(
                "dockerd-tcp", "wrong", "dockerd", f"a dockerd listens on {', '.join(dict.fromkeys(where))}",
                f"{CLOSED}; a network address is open to each job's host processes",
                f'In {daemon.file or "its unit"}: no tcp:// in "hosts", nor in -H of ExecStart; then restart it.',
            )  # fmt: skip


def _sockets(node: Node) -> Iterable[Finding]:
    for path, socket in node.sockets.items():
        if socket.reachable and socket.mode & 0o002:
            yield Finding(
                "socket-open", "wrong", "dockerd", f"{path} is open to everyone", CLOSED, f"Run: chmod 660 {path}."
            )
        elif socket.uid != 0:
            yield Finding(
                "socket-owner", "wrong", "dockerd", f"{path} belongs to uid {socket.uid}", CLOSED,
                f"Run: chown root {path}.",
            )  # fmt: skip


def _members(node: Node) -> Iterable[Finding]:
    if node.docker_group:
        open_now = [path for path, one in node.sockets.items() if one.reachable and one.gid != 0 and one.mode & 0o020]
        who = ", ".join(node.docker_group)
        yield Finding(
            "docker-group", "wrong" if open_now else "weak", "dockerd", f"in group docker: {who}",
            f"each of them is root on this node through {', '.join(open_now) or 'any dockerd of it, once one runs'}",
            f"Run: gpasswd --delete {node.docker_group[0]} docker (and so for each).",
        )  # fmt: skip
