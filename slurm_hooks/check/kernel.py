# SPDX-License-Identifier: Apache-2.0
"""The kernel: is it new enough, and what does it let every user do. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from slurm_hooks.knobs.node import Finding, Node

# mount_setattr(2) is of 5.12; cgroup.kill of 5.14 (v2). Distributions carry both back under an older number seldom.
MOUNTS, KILL = (5, 12), (5, 14)


def check(node: Node) -> Iterable[Finding]:
    """Its release and its settings."""
    yield from _release(node)
    for name in ("fs.protected_hardlinks", "fs.protected_symlinks"):
        if node.sysctls.get(name) == "0":
            yield Finding(
                "sysctl-links", "weak", "kernel", f"{name} = 0",
                "a user may lead root's programs elsewhere by links in shared directories such as /tmp", _set(name, 1),
            )  # fmt: skip
    if node.sysctls.get("kernel.unprivileged_bpf_disabled") == "0":
        yield Finding(
            "sysctl-bpf", "weak", "kernel", "kernel.unprivileged_bpf_disabled = 0",
            "job scripts may load programs into the kernel; its verifier has been a way to root again and again",
            _set("kernel.unprivileged_bpf_disabled", 1),
        )  # fmt: skip
    if node.sysctls.get("fs.suid_dumpable") == "1":
        yield Finding(
            "sysctl-dumps", "weak", "kernel", "fs.suid_dumpable = 1",
            "a setuid program that a user brings down leaves its memory to the user", _set("fs.suid_dumpable", 0),
        )  # fmt: skip


def _release(node: Node) -> Iterable[Finding]:
    numbers = re.match(r"(\d+)\.(\d+)", node.kernel)
    if not numbers:
        return
    release = (int(numbers[1]), int(numbers[2]))
    if release < MOUNTS:
        yield Finding(
            "kernel-mounts", "wrong", "kernel", f"the kernel is {node.kernel}",
            "before 5.12 it has no mount_setattr(2): every -v fails", "Boot a newer kernel.",
        )  # fmt: skip
    elif node.cgroup == 2 and release < KILL:
        yield Finding(
            "kernel-kill", "wrong", "kernel", f"the kernel is {node.kernel}",
            "before 5.14 it has no cgroup.kill: the Epilog ends nothing", "Boot a newer kernel.",
        )  # fmt: skip


def _set(name: str, value: int) -> str:
    line = f"{name} = {value}"
    return f"In /etc/sysctl.d/60-slurm-hooks.conf: {line}; then run: sysctl -w {name}={value}."
