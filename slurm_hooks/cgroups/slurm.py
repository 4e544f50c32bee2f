# SPDX-License-Identifier: Apache-2.0
"""Where this node's slurmd puts a job's cgroup.

| release       | cgroup | directory of a job                                                |
| ------------- | ------ | ----------------------------------------------------------------- |
| 22.05 - 25.05 | v2     | [init]/system.slice/[<node>_]slurmstepd.scope/job_<id>            |
| 25.11         | v2     | the same, in the slice that cgroup.conf's CgroupSlice names       |
| 26.05         | v2     | …/<SLUID>, or job_<id> with CgroupJobIdPaths=yes (26.05.2)        |
| all           | v1     | each hierarchy: /slurm[_<node>]/uid_<uid>/job_<id>                |

The node's name is there where Slurm was built with --enable-multiple-slurmd, as
Debian does. Nothing is hard-coded that can be seen: the scope and the v1 root
are looked for; a hook that runs inside the job (PrologFlags=RunInJob) reads
its own cgroup; the release is asked only where it decides (SLUID).
Sources: cgroup_v2.c (_set_int_cg_ns, _init_stepd_system_scope), xcgroup.c,
cgroup.conf(5), release notes 25.11 and 26.05.
"""

from __future__ import annotations

import os

from slurm_hooks import cgroups, config, jobs, linux
from slurm_hooks.errors import BadEnvironment, NodeFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Place:
    """A job's cgroup: the version, Slurm's root and the job's path, relative to the mount."""

    __slots__ = ("version", "root", "path")

    def __init__(self, version: int, root: str, path: str) -> None:
        self.version, self.root, self.path = version, root, path


def place(
    mount: str, *, job: int, uid: int, node: str, sluid: str = "", conf: str = "", own: str | None = None
) -> Place:
    """Where the job's cgroup is or will be.

    Args:
        mount: the cgroup mount point, /sys/fs/cgroup.
        node: Slurm's name of this node.
        sluid: SLURM_JOB_SLUID, from 25.11 on.
        conf: SLURM_CONF; cgroup.conf lies beside it.
        own: this process's /proc/self/cgroup; read where None.

    Raises:
        NodeFault: no place of Slurm's is found.
    """
    lines = linux.cgroup_lines(own if own is not None else linux.read("/proc/self/cgroup"))
    if os.path.exists(f"{mount}/cgroup.controllers"):
        root = scope(mount, node)
        inside = lines.get("", "")
        if inside.startswith(f"{root}/") and "/step_" in inside:
            return Place(2, root, f"{root}/{inside[len(root) + 1 :].split('/')[0]}")
        name = sluid if sluid and named_by_sluid(conf) else f"job_{job}"
        return Place(2, root, f"{root}/{name}")
    root = root_of_v1(mount, node)
    return Place(1, root, f"{root}/uid_{uid}/job_{job}")


def place_of(environ: Mapping[str, str], mount: str = cgroups.MOUNT) -> Place:
    """Where the cgroup of the job is that slurmd's environment describes. Raises HooksError."""
    node = jobs.word(environ, "SLURMD_NODENAME")
    if not node:
        raise BadEnvironment("SLURMD_NODENAME", "not set", "Hooks are called by slurmd.")
    return place(
        mount,
        job=jobs.whole_number(environ, "SLURM_JOB_ID"),
        uid=jobs.whole_number(environ, "SLURM_JOB_UID"),
        node=node,
        sluid=jobs.word(environ, "SLURM_JOB_SLUID"),
        conf=environ.get("SLURM_CONF", ""),
    )


def scope(mount: str, node: str, init: str | None = None) -> str:
    """Slurm's scope on cgroup v2, relative to the mount. `init`: /proc/1/cgroup; read where None."""
    # From 23.02 on Slurm counts from the cgroup of pid 1, which in a container is not the root.
    lines = linux.cgroup_lines(init if init is not None else linux.read("/proc/1/cgroup"))
    above = lines.get("", "/").removesuffix("/init.scope").rstrip("/")
    for prefix in dict.fromkeys((above, "")):
        for wanted in (f"{node}_slurmstepd.scope", "slurmstepd.scope"):
            for slice_ in _slices(f"{mount}{prefix}"):
                if os.path.isdir(f"{mount}{prefix}/{slice_}/{wanted}"):
                    return f"{prefix}/{slice_}/{wanted}"
    raise NodeFault(mount, f"no {node}_slurmstepd.scope and no slurmstepd.scope", "Is slurmd's CgroupPlugin cgroup/v2?")


def _slices(directory: str) -> list[str]:
    try:
        names = [name for name in os.listdir(directory) if name.endswith(".slice")]
    except OSError:
        return []
    return sorted(names, key=lambda name: name != "system.slice")  # the default first


def root_of_v1(mount: str, node: str) -> str:
    """Slurm's root in the v1 hierarchies; before the node's first job neither name may exist yet."""
    for root in (f"/slurm_{node}", "/slurm"):
        for controller in ("freezer", "memory", "cpuset", "devices", "cpuacct"):
            if os.path.isdir(f"{mount}/{controller}{root}"):
                return root
    # The build decides (xcgroup.c: "/slurm_%n" under MULTIPLE_SLURMD), so the answer is in Slurm's own library.
    return f"/slurm_{node}" if _built_for_multiple_slurmd() else "/slurm"


def _built_for_multiple_slurmd() -> bool:
    try:
        maps = linux.read(f"/proc/{os.getppid()}/maps")
        library = next(line.split()[-1] for line in maps.splitlines() if "/libslurmfull" in line)
        with open(library, "rb") as file:
            return b"/slurm_%n" in file.read()
    except (OSError, StopIteration):
        return True  # not called by slurmd: a person tries the hook; Debian's build is the likely one


def slurmd() -> str:
    """The slurmd that called this hook, or the one where packages put it."""
    try:
        directory = os.path.dirname(os.readlink(f"/proc/{os.getppid()}/exe"))
    except OSError:
        directory = ""
    for candidate in (f"{directory}/slurmd", "/usr/sbin/slurmd", "/usr/local/sbin/slurmd"):
        if os.access(candidate, os.X_OK):
            return candidate
    return ""


def named_by_sluid(conf: str) -> bool:
    """Does this slurmd name job directories by SLUID? SLURM_JOB_SLUID alone tells not: 25.11 sets it too."""
    if _cgroup_conf(conf).get("cgroupjobidpaths", "no").lower() in ("yes", "true", "1", "up"):
        return False
    return release() >= (26, 5)


def _cgroup_conf(slurm_conf: str) -> dict[str, str]:
    """cgroup.conf's lines, names in lower case (they are case-insensitive); empty where there is none."""
    try:
        text = linux.read(f"{os.path.dirname(slurm_conf) or '/etc/slurm'}/cgroup.conf")
    except OSError:
        return {}
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("#")[0].partition("=")
        if equals:
            found[name.strip().lower()] = value.strip()
    return found


def release(run: str = config.RUN) -> tuple[int, int]:
    """(year, month) of the calling slurmd's release, (0, 0) where it does not say; asked once for each binary."""
    binary = slurmd()
    if not binary:
        return 0, 0
    facts = os.stat(binary)
    seal = f"{facts.st_ino} {facts.st_mtime_ns}"
    try:
        kept, _, number = linux.read(f"{run}/slurm-release").rpartition(" ")
    except OSError:
        kept, number = "", ""
    if kept != seal:
        number = _asked(binary)
        try:
            linux.replace(f"{run}/slurm-release", f"{seal} {number}")
        except OSError:
            pass  # asked again by the next job
    year, month = number.split(".")
    return int(year), int(month)


def _asked(binary: str) -> str:
    import re
    import subprocess

    said = subprocess.run([binary, "-V"], capture_output=True, text=True, timeout=10, check=False).stdout
    found = re.search(r"\d\d\.\d\d", said)
    return found[0] if found else "0.0"
