# SPDX-License-Identifier: Apache-2.0
"""Every system call there is, how each is asked for in a container (probe.py), and what the answers say."""

from __future__ import annotations

import json
from pathlib import Path

from slurm_hooks.knobs.syscalls import NAMESPACES
from tests.attacks import probe

EPERM, ENOSYS, REACHED, ENDED = 1, 38, 0, 128 + 31  # SIGSYS
Answers = dict[str, int]
Wishes = dict[str, tuple[int, tuple[int | str, ...]]]  # what the answer must be, and the call with its arguments
NUMBERS = {
    name: int(number)
    for number, name in map(
        str.split, (Path(__file__).parents[1] / "data/syscalls-x86_64.txt").read_text().splitlines()
    )
}
HIGH = 1 << 32  # a bit that the kernel does not look at
# What is asked of the calls that are open in part, and what the answer must be.
ARGUMENTS: Wishes = {
    "a process": (REACHED, ("clone", 0x01200011)),
    "a thread": (REACHED, ("clone", 0x003D0F00)),
    **{f"a namespace {1 << bit:#x}": (EPERM, ("clone", 1 << bit | 17)) for bit in range(32) if NAMESPACES >> bit & 1},
    "all namespaces and a stray bit": (EPERM, ("clone", NAMESPACES | HIGH)),
    "a Unix socket": (REACHED, ("socket", 1, 1)),
    "a pair of Unix sockets": (REACHED, ("socketpair", 1, 1)),
    "a pair of IPv4": (EPERM, ("socketpair", 2, 1)),
    **{
        f"IPv{v} {p}": (REACHED, ("socket", f, 1, n)) for v, f in ((4, 2), (6, 10)) for p, n in (("any", 0), ("TCP", 6))
    },
    "UDP": (REACHED, ("socket", 2, 2, 17)),
    "SCTP": (EPERM, ("socket", 2, 1, 132)),
    "DCCP": (EPERM, ("socket", 2, 6, 33)),
    "MPTCP": (EPERM, ("socket", 2, 1, 262)),
    "IPv4 and a stray bit": (EPERM, ("socket", 2 | HIGH, 1)),
    "netlink: routes": (REACHED, ("socket", 16, 3, 0)),
    "netlink: nftables": (EPERM, ("socket", 16, 3, 12)),
    "netlink: xfrm": (EPERM, ("socket", 16, 3, 6)),
    **{f"family {family}": (EPERM, ("socket", family, 2)) for family in range(46) if family not in (1, 2, 10, 16)},
    "TCGETS": (REACHED, ("ioctl", 0, 0x5401)),
    "musl's TIOCGPTN, with its sign": (REACHED, ("ioctl", 0, 0xFFFFFFFF_80045430)),
    **{
        f"{name}{' and a stray bit' * bool(high)}": (EPERM, ("ioctl", 0, number | high))
        for name, number in (("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541C), ("TIOCSETD", 0x5423))
        for high in (0, HIGH, 1 << 63)
    },
    **{
        f"ioctl {number:#x}": (REACHED, ("ioctl", 0, number))
        for number in (0x5411, 0x5413, 0x541B, 0x541D, 0x5422, 0x5424)
    },
    "PTRACE_TRACEME": (REACHED, ("ptrace", 0)),
    "PTRACE_DETACH": (REACHED, ("ptrace", 17)),
    "PTRACE_GETREGSET": (REACHED, ("ptrace", 0x4204)),
    "PTRACE_GET_SYSCALL_INFO": (REACHED, ("ptrace", 0x420E)),
    "PTRACE_ATTACH": (EPERM, ("ptrace", 16)),
    "PTRACE_SEIZE": (EPERM, ("ptrace", 0x4206)),
    "the usual personality": (REACHED, ("personality", 0)),
    "which personality": (REACHED, ("personality", 0xFFFFFFFF)),
    "no randomization": (REACHED, ("personality", 0x40000)),
    "READ_IMPLIES_EXEC": (EPERM, ("personality", 0x400000)),
    "MMAP_PAGE_ZERO": (EPERM, ("personality", 0x100000)),
    "its own pages": (REACHED, ("move_pages", 0)),
    "another's pages": (EPERM, ("move_pages", 1)),
    "its own node": (REACHED, ("migrate_pages", 0)),
    "another's node": (EPERM, ("migrate_pages", 1)),
}
# For bash: a Python and the probe, in the user's home. The image has neither, and the node's own /usr is not mounted.
BRING = f"""rm -rf py; mkdir -p py/lib; cat > py/probe.py <<'END'
{Path(probe.__file__).read_text()}
END
version=$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
from=/usr/lib/$version to=py/lib/$version
mkdir $to; cp -r $from/*.py $from/{{encodings,ctypes,json,re,collections}} $from/lib-dynload/_ctypes.*.so $to
[ ! -d $from/sysconfig ] || cp -r $from/sysconfig $to
cp /usr/bin/python3 py/; ldd py/python3 $to/_ctypes.*.so | grep -o '/[^ ]* (' | sort -u | while read -r so _; do
cp $so py/lib; done"""
PYTHON = "/py/lib/ld-linux-x86-64.so.2 --library-path /py/lib /py/python3 -S -W ignore"
ASK = f"{PYTHON} /py/probe.py < calls"


def question(wishes: Wishes) -> dict[str, list[int]]:
    """For the probe's standard input."""
    return {what: [NUMBERS[str(call)], *map(int, words)] for what, (_, (call, *words)) in wishes.items()}


def every_call() -> str:
    """The whole question, each call by its name, and by what is open of it in part."""
    return json.dumps({name: [number, 0] for name, number in NUMBERS.items()} | question(ARGUMENTS))


def reached(answers: Answers) -> set[str]:
    """The calls that came as far as the kernel, with some arguments at least."""
    in_part = {str(call) for what, (_, (call, *_)) in ARGUMENTS.items() if answers[what] == REACHED}
    return in_part | {name for name in NUMBERS if answers[name] == REACHED}
