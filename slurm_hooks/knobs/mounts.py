# SPDX-License-Identifier: Apache-2.0
"""Bind mounts: only what the job's user can reach, resolved as the user, nosuid and nodev; no volumes.

Stops: the node's files through root's eyes, sockets of services, races between
check and mount: dockerd never sees the user's path, but a stage of ours, made from the opened descriptor.
Costs: about 10 ms a container with mounts.
Docker: -v, --mount, --volumes-from, --volume-driver. What was opened is judged
by its real path (`admit`); a place that contains a refused one is refused with it.
A site may have them noexec too (mounts.noexec): then no program is run from there. It is a rule of the house and no
wall: a script that its interpreter is given is a file that is read, and a copy in the container's /tmp runs.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Stage, Units, owned
from slurm_hooks.knobs.node import Finding, Node
from slurm_hooks.settings import Settings

BINDS, MOUNTS, VOLUMES = "HostConfig.Binds", "HostConfig.Mounts", "Volumes"
MOST = 64  # bind mounts of one container
DENIED = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/run", "/sbin", "/sys",
    "/usr", "/var/cache", "/var/lib", "/var/log", "/var/run", "/var/spool",
)  # fmt: skip
# Of Docker's own options these change nothing here: caching hints of Docker Desktop, and what is forced anyway.
HARMLESS = ("rw", "consistent", "cached", "delegated", "rprivate", "private", "nosuid", "nodev")
NO_VOLUMES = ("volumes are not offered in jobs", "Mount a directory of yours: -v /path:/path.")
# What dockerd itself mounts in a container: as a link of the user's it would lead elsewhere.
OF_DOCKERD = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/sbin/docker-init")
OWN_WAY = "Copy what you need into your home or scratch directory and mount that."
OWN_PLACES = "/proc, /sys and /dev of a container are its own"
STAGED = "opened as the user, judged by where it really is, mounted {mounts.options}"
NOT_OPEN = "not an option that is open"
USE = "Use source, target and readonly."
ROWS = (
    Row(BINDS, "allow", f"SOURCE:TARGET[:ro]: {STAGED}"),
    *(
        Row(f"{unit}:{place}", "deny", OWN_PLACES, todo="Choose another target.")
        for unit in (BINDS, MOUNTS)
        for place in ("/proc", "/sys", "/dev")
    ),
    Row(MOUNTS, "allow", f"type=bind: {STAGED}"),
    Row(f"{MOUNTS}[].Type", "force", "only bind mounts are offered in jobs", "bind"),
    Row(f"{MOUNTS}[].Source", "allow", "an absolute path that the user can open"),
    Row(f"{MOUNTS}[].Target", "allow", "an absolute path, not in another mount"),
    Row(f"{MOUNTS}[].ReadOnly", "allow", "as asked"),
    Row(f"{MOUNTS}[].Consistency", "drop", "a hint for other systems"),
    Row(f"{MOUNTS}[].BindOptions.Propagation", "force", "mounts stay private", "rprivate"),
    Row(f"{MOUNTS}[].BindOptions.NonRecursive", "deny", NOT_OPEN, todo=USE),
    Row(f"{MOUNTS}[].BindOptions.CreateMountpoint", "deny", NOT_OPEN, todo=USE),
    Row(f"{MOUNTS}[].BindOptions.ReadOnlyNonRecursive", "deny", NOT_OPEN, todo=USE),
    Row(f"{MOUNTS}[].BindOptions.ReadOnlyForceRecursive", "deny", NOT_OPEN, todo=USE),
    *(Row(f"{MOUNTS}[].{kind}Options", "deny", NOT_OPEN, todo=USE) for kind in ("Volume", "Image", "Tmpfs", "Cluster")),
    Row(VOLUMES, "drop", "the targets of bind mounts, which docker-py repeats here; others are refused"),
    Row("HostConfig.VolumesFrom", "deny", "containers of a job share by bind mounts", todo="Give each the same -v."),
    Row("HostConfig.VolumeDriver", "deny", NO_VOLUMES[0], todo=NO_VOLUMES[1]),
)
OWNS = owned(ROWS)


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    wishes = [_from_bind(bind) for bind in units.get(BINDS, [])]
    wishes += [_from_mount(mount) for mount in units.get(MOUNTS, [])]
    if len(wishes) > MOST:
        raise Refused("-v", f"{len(wishes)} mounts are more than {MOST}", "Mount a directory above them.")
    targets = [target for _, target, _ in wishes]
    # docker-py names the targets of bind mounts here as well; anything else would be an anonymous volume.
    if extra := set(units.get(VOLUMES, {})) - set(targets):
        raise Refused(f"-v {sorted(extra)[0]}", *NO_VOLUMES)
    if twice := next((target for target in targets if targets.count(target) > 1), ""):
        raise Refused("-v", "two mounts at one place", f"Leave one of {twice} out.")
    denied = (*site.mounts.deny, site.docker.data_root)
    allowed, noexec = site.mounts.allow, site.mounts.noexec
    return Confinement(stages=tuple(Stage(*wish, denied, allowed=allowed, noexec=noexec) for wish in wishes))


def _from_bind(bind: str) -> tuple[str, str, bool]:
    parts = bind.split(":")
    if len(parts) not in (2, 3):
        raise Refused(f"-v {bind}", "not SOURCE:TARGET[:ro]", "A path with a colon needs --mount.")
    source, target = parts[0], parts[1]
    readonly = False
    for option in parts[2].split(",") if len(parts) == 3 else ():
        if option == "ro":
            readonly = True
        elif option not in HARMLESS:
            raise Refused(f"-v …:{option}", "only ro and rw are open", "Leave it out.")
    if not source.startswith("/"):
        raise Refused(f"-v {bind}", "volumes are not offered in jobs", f"Mount a directory: -v /path:{target}.")
    return source, target_of(f"-v {bind}", target), readonly


def _from_mount(mount: dict[str, Any]) -> tuple[str, str, bool]:
    kind = mount.get("Type")
    if kind != "bind":
        raise Refused(f"--mount type={kind}", "only bind mounts are offered in jobs", "Use type=bind, or --tmpfs.")
    known = {"Type", "Source", "Target", "ReadOnly", "BindOptions", "Consistency"}
    options = mount.get("BindOptions") or {}
    if not isinstance(options, dict):
        raise Refused("--mount", "BindOptions is no object", USE)
    unknown = [name for name, value in mount.items() if value and name not in known]
    unknown += [name for name, value in options.items() if value and name not in ("Propagation",)]
    if unknown:
        raise Refused(f"--mount …,{unknown[0]}", NOT_OPEN, USE)
    if options.get("Propagation") not in (None, "", "rprivate", "private"):
        raise Refused(f"--mount bind-propagation={options['Propagation']}", "mounts stay private", "Leave it out.")
    source, target, readonly = mount.get("Source"), mount.get("Target"), mount.get("ReadOnly")
    if not isinstance(source, str) or not isinstance(target, str) or not isinstance(readonly, bool | None):
        raise Refused("--mount", "source and target are paths, readonly is true or false", USE)
    if not source.startswith("/"):
        raise Refused(f"--mount source={source}", "not an absolute path", "Begin it with a slash: $PWD/….")
    return source, target_of(f"--mount target={target}", target), bool(readonly)


def target_of(what: str, target: str) -> str:
    """Where in the container something may be mounted: absolute, clean, not in /proc, /sys, /dev. Raises Refused."""
    clean = "/" + posixpath.normpath(target).lstrip("/")  # normpath keeps two slashes at the beginning
    if not target.startswith("/") or ".." in target.split("/") or clean == "/":
        raise Refused(what, "the target is not an absolute path below /", "Write it out.")
    if _is_containers_own(clean):
        raise Refused(what, OWN_PLACES, "Choose another target.")
    return clean


def _is_containers_own(path: str) -> bool:
    return any(path == top or path.startswith(f"{top}/") for top in ("/proc", "/sys", "/dev"))


def refuse_nested(binds: Iterable[str], others: Iterable[str]) -> None:
    """No mount lies in a bind mount of the container: on the way to it runc, as root, would follow the user's links.

    A link to /dev there, and the second mount is the container's /dev; from the user's /dev/null, itself a link,
    runc then opens any file as root and hands it to the container (tests/attacks/test_nested_mounts.py).

    Args:
        others: targets of the tmpfs that the user asked for.

    Raises:
        Refused: a bind mount or a tmpfs lies below a bind mount.
    """
    binds = tuple(binds)
    for target in (*binds, *others, *OF_DOCKERD):
        if outer := below(target, binds):
            inner = f"{target}, which is docker's own," if target in OF_DOCKERD else target
            raise Refused(f"-v …:{outer}", f"{inner} lies in it, and could be led elsewhere", "Mount side by side.")


def below(target: str, binds: Iterable[str]) -> str:
    """The bind mount's target that another target lies below, "" for none."""
    return next((bind for bind in binds if target.startswith(f"{bind}/")), "")


def for_working_directory(stages: Iterable[Stage], directory: str, uid: int) -> tuple[Stage, ...]:
    """The stages, with an owner demanded where the working directory lies in a bind mount.

    runc makes a working directory that is not there, as root and along the user's links: so every writable mount
    is then to be a directory of the user's own, where root makes nothing that the user could not make.
    """
    stages = tuple(stages)
    if not below(directory, [stage.target for stage in stages]):
        return stages
    return tuple(stage if stage.readonly else replace(stage, owner=uid) for stage in stages)


def admit(stage: Stage, path: str, kind: str, owner: int) -> str:
    """May what was opened be mounted? "" or why not.

    Args:
        path: its real one.
        kind: directory, file, or another word.
        owner: the uid that owns it.
    """
    if stage.owner is not None and owner != stage.owner:
        return "with a working directory below a mount, each writable mount must be a directory of your own"
    if kind not in ("directory", "file"):
        return f"a {kind} cannot be mounted"
    for denied in (*DENIED, *stage.denied):
        if path == denied or path.startswith(f"{denied}/"):
            return f"{denied} is the node's own"
        if path == "/" or denied.startswith(f"{path}/"):
            return f"{path} contains {denied}, which is the node's own"
    if stage.allowed and not any(path == top or path.startswith(f"{top.rstrip('/')}/") for top in stage.allowed):
        return f"this site lets jobs mount {', '.join(stage.allowed)} alone"
    return ""


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    wrong = []
    for target, stage in seen.staged.items():
        there = [mount for mount in seen.mounts if mount.what == stage.what]
        if not there:
            wrong.append(f"{target} is not the directory that was staged for it")
        elif led := next((mount.point for mount in there if _is_containers_own(mount.point)), ""):
            wrong.append(f"{target} was led to {led} by a link in the image")
        elif not all({"nosuid", "nodev"} <= set(mount.options.split(",")) for mount in there):
            wrong.append(f"{target} is not nosuid,nodev")
        else:
            wrong += [
                f"{target} is not {words}"
                for option, words in (("ro", "read-only"), ("noexec", "noexec"))
                if option in stage.options.split(",") and not all(option in mount.options.split(",") for mount in there)
            ]
    return wrong


def check(node: Node) -> Iterable[Finding]:
    for place, real in node.links.items():
        yield Finding(
            "place-link", "wrong", "mounts", f"[mounts] names {place}, which leads to {real}",
            "a mount is judged by its real path, so this word holds nothing", f"Name {real}.",
        )  # fmt: skip
