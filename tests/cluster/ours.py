# SPDX-License-Identifier: Apache-2.0
"""Everything of slurm-hooks that is on a node, a line each: what of it works, and what of it lies there. Runs there.

By names, and by the package's own list of its files, which is our standard input: not all have our name.
"""

import os
import re
import subprocess
import sys

NAME = re.compile(r"slurm[-_]hooks|slurm-jobs")
# Neither files of a disk nor any that we make; the lab's own; where the lab keeps the packages.
PASSED = {"/dev", "/proc", "/sys", "/src", "/run/lab", "/root/debs"}
TOPS = ("/", "/dev/shm", "/sys/fs/cgroup", "/sys/fs/bpf")


def lines(path: str) -> list[str]:
    """Those of a file that have our name."""
    try:
        with open(path, errors="replace") as file:
            return [line.strip() for line in file if NAME.search(line)]
    except OSError:
        return []


def said(command: str) -> list[str]:
    """The same of a command."""
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    return [line.strip() for line in done.stdout.splitlines() if NAME.search(line)]


def units() -> list[str]:
    """By their names: systemd's words for others may have ours."""
    listed = said("systemctl list-units --no-legend --plain") + said("systemctl list-unit-files --no-legend")
    return [name for name in (line.split()[0] for line in listed) if NAME.search(name)]


def processes() -> list[str]:
    """What runs as one of ours, or in one of our cgroups."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", errors="replace") as file:
                words = file.read().replace("\0", " ")
        except OSError:
            continue
        if NAME.search(words) or lines(f"/proc/{pid}/cgroup"):
            found.append(f"{pid} {words}")
    return found


def files() -> list[str]:
    """The first of each tree that has our name, and what of the package has another one."""
    found = []
    for top in TOPS:
        for path, names, others in os.walk(top):
            whole = {name: os.path.join(path, name) for name in names + others}
            found += [whole[name] for name in whole if NAME.search(name)]
            names[:] = [name for name in names if whole[name] not in PASSED and not NAME.search(name)]
    listed = sys.stdin.read().splitlines()
    return found + [path for path in listed if os.path.lexists(path) and not os.path.isdir(path)]


def main() -> None:
    """Print them."""
    kinds = {
        "unit": units(),
        "process": processes(),
        "mount": lines("/proc/self/mountinfo"),
        "socket": lines("/proc/net/unix"),
        "file": files(),
        "account": lines("/etc/passwd") + lines("/etc/group"),
        "table": said("nft list tables"),
        "profile": lines("/sys/kernel/security/apparmor/profiles"),
        "namespace": said("ctr namespaces list -q"),
        "slurm": said("scontrol show config"),
    }
    for kind, found in kinds.items():
        for one in sorted(set(found)):
            print(kind, one)


if __name__ == "__main__":
    main()
