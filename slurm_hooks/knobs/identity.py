# SPDX-License-Identifier: Apache-2.0
"""Who the container's processes are: the job's uid and gid, always both; or root that is nobody outside.

Stops: root in a container, which is root on the node; files of others.
Costs: images that want root at run time do not work, unless the site sets container.root = "remap" (userns.py).
The container's /etc/passwd and /etc/group are the image's own with a line for the user where it has none, so that
programs find themselves there, and runc a HOME: the job's own where it is mounted, else /tmp.
Docker: --user, --group-add. With an explicit gid dockerd ignores the image's own
/etc/group, so an image cannot give a group (moby GetExecUser). The supplementary
groups are those of the asking process, as the kernel has them.
"""

from __future__ import annotations

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Seen, Units, nothing_to_check, owned
from slurm_hooks.settings import Settings

ROOT = "0:0"
ROOTS = ("0", "root", ROOT, "root:root", "0:root", "root:0")  # as it may be typed
ROWS = (
    Row("User", "force", "a job's container runs as the job's own user; root inside: {container.root}", "<uid>:<gid>"),
    Row("HostConfig.GroupAdd", "force", "the groups of the asking process, all of them", "<groups>"),
)
OWNS = owned(ROWS)

check = nothing_to_check


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    if units.get("User") in ROOTS:
        return _root(units, job, site)
    own = (str(job.uid), f"{job.uid}:{job.gid}")
    if units.get("User", own[0]) not in own:
        raise Refused(
            f"--user {units['User']}", f"a job's container runs as the job's own user, {own[1]}", "Leave --user out."
        )
    allowed = {str(group) for group in (job.gid, *job.groups)}
    for group in units.get("HostConfig.GroupAdd", []):
        if group not in allowed:
            raise Refused(
                f"--group-add {group}", "not a group of the job's user", "Give a numeric group that `id` lists."
            )
    groups = [str(group) for group in job.groups if group != job.gid]
    return Confinement({"User": own[1], "HostConfig.GroupAdd": groups})


def _root(units: Units, job: JobFacts, site: Settings) -> Confinement:
    what = f"--user {units['User']}"
    if site.container.root != "remap":
        raise Refused(
            what, f"a job's container runs as the job's own user, {job.uid}:{job.gid}",
            "Leave --user out; root inside is for the site to allow (container.root).",
        )  # fmt: skip
    if job.remapped is None:
        raise Refused(what, "this node's dockerd has no userns-remap", "Leave --user out, or ask the operators.")
    if units.get("HostConfig.GroupAdd"):
        raise Refused("--group-add", "root inside has no groups of the job's user", "Leave it out.")
    return Confinement({"User": ROOT, "HostConfig.GroupAdd": []})


def passwd(text: bytes, user: str, uid: int, gid: int, home: str) -> bytes | None:
    """An image's passwd(5) with a line for the user; None: it has one of that uid."""
    return _with_line(text, uid, f"{user}:x:{uid}:{gid}:{user}:{home}:/bin/sh\n")


def group(text: bytes, name: str, gid: int) -> bytes | None:
    """An image's group(5) with a line for the user's group; None: it has one of that gid."""
    return _with_line(text, gid, f"{name}:x:{gid}:\n")


def _with_line(text: bytes, number: int, line: str) -> bytes | None:
    if any(row.split(b":")[2:3] == [b"%d" % number] for row in text.splitlines()):
        return None
    return text + (b"\n" if text and not text.endswith(b"\n") else b"") + line.encode()


def verify(seen: Seen, job: JobFacts, asked: Units) -> list[str]:
    uids, gids = seen.status["Uid"].split(), seen.status["Gid"].split()
    uid, gid, groups = job.uid, job.gid, {job.gid, *job.groups}
    if asked.get("User") == ROOT:
        if job.remapped is None:
            return ["root is remapped to nobody that is known"]
        uid, gid, groups = job.remapped.uid, job.remapped.gid, {job.remapped.gid}
    wrong = []
    if uids != [str(uid)] * 4:
        wrong.append(f"uid is {' '.join(uids)}, not {uid}")
    if gids != [str(gid)] * 4:
        wrong.append(f"gid is {' '.join(gids)}, not {gid}")
    extra = {int(group) for group in seen.status["Groups"].split()} - groups
    if extra:
        wrong.append(f"groups {sorted(extra)} are not the job's")
    return wrong
