# SPDX-License-Identifier: Apache-2.0
"""The facts, one row each: what a shell inside reads of the kernel, in words. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from tests.attacks.calls import NUMBERS, reached

MASKED = ("/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
# In sh, so that it runs in any image. Each part begins with a line of its own.
PROBE = r"""part() { echo "== $1"; }
part status; cat /proc/self/status
part label; cat /proc/self/attr/current 2>/dev/null; echo
part mounts; cat /proc/self/mountinfo
part limits; cat /proc/self/limits
part devices; for d in /dev/* /dev/*/*; do [ -L "$d" ] && continue
[ -b "$d" ] && echo "block $d"; [ -c "$d" ] && echo "$d"; done
part interfaces; tail -n +3 /proc/net/dev | cut -d: -f1
part namespaces; for n in cgroup ipc mnt net pid user uts; do echo "$n $(readlink /proc/self/ns/$n)"; done
part bounds; c=/sys/fs/cgroup
for f in memory.max memory/memory.limit_in_bytes memory.swap.max pids.max pids/pids.max cpu.weight cpu/cpu.shares; do
[ -e $c/$f ] && echo "$f $(cat $c/$f)"; done
part writes; for p in / /etc /tmp /var/tmp /run /dev/shm; do touch $p/.x 2>/dev/null && rm $p/.x && echo "$p"; done
part levers; for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger; do
(exec 3>>$f) 2>/dev/null && echo "$f"; done; true"""


def parts(text: str) -> dict[str, str]:
    """What the probe said, by part."""
    pieces = re.split(r"^== (\w+)\n", text, flags=re.MULTILINE)
    return {name: said.strip("\0\n") for name, said in zip(pieces[1::2], pieces[2::2], strict=True)}


Said = Mapping[str, str]


def _status(said: Said, name: str) -> str:
    return next(
        (line.partition(":")[2].strip() for line in said["status"].splitlines() if line.startswith(f"{name}:")), ""
    )


def _ids(said: Said) -> str:
    return f"uid {_status(said, 'Uid').split()[0]}, gid {_status(said, 'Gid').split()[0]}"


def _capabilities(name: str) -> Callable[[Said, Said], str]:
    def row(said: Said, node: Said) -> str:
        number = int(_status(said, name) or "0", 16).bit_count()
        return f"{number} ({_status(said, name)})" if number else "none"

    return row


def _mounts(said: Said) -> list[list[str]]:
    return [line.split(" ") for line in said["mounts"].splitlines()]


def _root(said: Said, node: Said) -> str:
    return next(
        "read-only" if "ro" in at[5].split(",") else "writable" for at in reversed(_mounts(said)) if at[4] == "/"
    )


def _masked(said: Said, node: Said) -> str:
    points = {at[4] for at in _mounts(said)}
    there = [path for path in MASKED if path in points]
    return f"{len(there)} of {len(MASKED)} looked for: {' '.join(there)}"


def _namespaces(said: Said, node: Said) -> str:
    own, theirs = (dict(line.split(" ") for line in each["namespaces"].splitlines()) for each in (said, node))
    shared = [name for name in NAMESPACES if own[name] == theirs[name]]
    apart = [name for name in NAMESPACES if name not in shared]
    return f"own: {' '.join(apart) or 'none'}; the node's: {' '.join(shared) or 'none'}"


def _devices(said: Said, node: Said) -> str:
    blocks = [line for line in said["devices"].splitlines() if line.startswith("block ")]
    names = sorted({line.rpartition("/")[2] for line in said["devices"].splitlines() if not line.startswith("block ")})
    return f"{' '.join(names)}; block devices: {len(blocks) or 'none'}"


def _bound(*names: str) -> Callable[[Said, Said], str]:
    def row(said: Said, node: Said) -> str:
        found = dict(line.split(" ", 1) for line in said["bounds"].splitlines())
        text = next((found[name] for name in names if name in found), "not told")
        return "none" if text == "max" or (text.isdigit() and int(text) >= 1 << 60) else text

    return row


def _limit(name: str) -> Callable[[Said, Said], str]:
    def row(said: Said, node: Said) -> str:
        line = next(line for line in said["limits"].splitlines() if line.startswith(name))
        return ":".join(line.removeprefix(name).split()[:2])

    return row


def _words(part: str) -> Callable[[Said, Said], str]:
    return lambda said, node: " ".join(said[part].split()) or "none"


def _calls(said: Said, node: Said) -> str:
    return f"{len(reached(json.loads(said['calls'])))} of {len(NUMBERS)}"


# A further row is a name and a function of (what the container said, what the node itself says).
ROWS: dict[str, Callable[[Said, Said], str]] = {
    "user": lambda said, node: _ids(said),
    "supplementary groups": lambda said, node: _status(said, "Groups") or "none",
    "capabilities in force": _capabilities("CapEff"),
    "capabilities that could be had": _capabilities("CapBnd"),
    "no new privileges": lambda said, node: "on" if _status(said, "NoNewPrivs") == "1" else "off",
    "seccomp": lambda said, node: {"0": "off", "1": "strict", "2": "filter"}.get(_status(said, "Seccomp"), "unknown"),
    "system calls that reach the kernel": _calls,
    "label of the LSM": _words("label"),
    "namespaces": _namespaces,
    "root": _root,
    "can write to": _words("writes"),
    "masked": _masked,
    "the kernel's levers open for writing": _words("levers"),
    "devices": _devices,
    "network": _words("interfaces"),
    "memory": _bound("memory.max", "memory/memory.limit_in_bytes"),
    "swap": _bound("memory.swap.max"),
    "processes": _bound("pids.max", "pids/pids.max"),
    "weight of CPU": _bound("cpu.weight", "cpu/cpu.shares"),
    "open files": _limit("Max open files"),
    "core files": _limit("Max core file size"),
    "locked memory": _limit("Max locked memory"),
}


def rows(plain: str, ours: str, node: str) -> dict[str, tuple[str, str]]:
    """Row → (what plain docker run gives, what a job gets), from what the probe said in each and on the node.

    Both have a part `calls` beside the shell's: what the probe of tests/attacks was answered.
    """
    of_plain, of_ours, of_node = parts(plain), parts(ours), parts(node)
    return {name: (read(of_plain, of_node), read(of_ours, of_node)) for name, read in ROWS.items()}


def table(found: Mapping[str, tuple[str, str]]) -> str:
    """For docs/security.md."""
    lines = [f"| {name} | {plain} | {ours} |" for name, (plain, ours) in found.items()]
    return "\n".join(["| | plain `docker run` | in a job |", "| --- | --- | --- |", *lines])
