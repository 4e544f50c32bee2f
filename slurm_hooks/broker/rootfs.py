# SPDX-License-Identifier: Apache-2.0
"""Where a container's mounts would land: the links of its image are followed before anything is mounted.

runc makes a mount's target as root and follows what links the image has on the way, within the root file
system (securejoin): an image with /work → /dev and a mount at /work/null makes it open the mount in the place of the
container's devices (CVE-2025-31133 and its kin). So the way of each target is walked here in the layers that the
container was made of, as the kernel's overlayfs would merge them, and one that comes near what runc itself
mounts, or another mount, is refused. A link from /var/run to /run or from /bin to usr/bin is well.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable, Mapping

from slurm_hooks.broker import layers
from slurm_hooks.broker.relay import Upstream, message_of
from slurm_hooks.errors import NodeFault, Refused
from slurm_hooks.knobs.mounts import OF_DOCKERD

OWN = ("/dev", "/proc", "/sys")  # runc mounts these in each container
MOST_LINKS = 255  # of one target, as securejoin has it
MOST_LOOKS = 20_000  # into layers, for one container: an image of a hundred layers and many links must not hold us
# What the kernel leaves on directories of a layer and what changes no name (fs/overlayfs/overlayfs.h).
HARMLESS = ("impure", "origin", "nlink", "upper", "uuid", "protattr")
ELSEWHERE = "Mount it at a place that is not behind a link of the image."


async def refuse_links(up: Upstream, container: str) -> str:
    """A container that was made and does not run: its mounts land where they are said to. Where its root is mounted.

    Raises Refused; NodeFault where the layers cannot be looked at.
    """
    status, made = await up.value("GET", f"/containers/{container}/json")
    if status != 200:
        raise NodeFault("docker on this node", f"the container that was made cannot be looked at ({message_of(made)})")
    host, directory = made["HostConfig"], made["Config"].get("WorkingDir") or "/"
    binds = [mount["Target"] for mount in host.get("Mounts") or ()]
    others = [*(host.get("Tmpfs") or ()), *OF_DOCKERD]
    walk = Walk(await layers.of_container(made))
    trails = await asyncio.to_thread(walk.trails, [*binds, *others])
    judge(trails, binds)
    # Lexically below a bind mount it is knobs.mounts.for_working_directory that has judged it.
    if not _within(directory, binds):
        judge_directory(directory, walk.trail(directory), [trails[bind][-1] for bind in binds])
    return await layers.root_of(up, made)


def judge(trails: Mapping[str, list[str]], binds: Iterable[str]) -> None:
    """May the mounts land there? Pure. Raises Refused.

    Args:
        trails: target → the places that its way comes through; the last one is where it lands.
        binds: targets that are the user's own files, where links may change at any time.
    """
    for target, places in trails.items():
        if led := next((place for place in places if _within(place, OWN)), ""):
            raise Refused(f"a mount at {target}", f"the image leads it to {led}", ELSEWHERE)
        if places[-1] == "/":
            raise Refused(f"a mount at {target}", "the image leads it to /", ELSEWHERE)
    for bind in binds:
        lands = trails[bind][-1]
        for target, places in trails.items():
            if target != bind and any(_within(place, (lands,)) for place in places):
                raise Refused(f"a mount at {target}", f"the image leads it to the mount at {bind}", ELSEWHERE)


def judge_directory(directory: str, places: list[str], binds: Iterable[str]) -> None:
    """May runc, as root, make the working directory where it is not there yet? Pure. Raises Refused.

    Args:
        places: its trail.
        binds: where the user's own files are.
    """
    for place in places:
        if _within(place, OWN) or any(place.startswith(f"{bind}/") for bind in binds):
            raise Refused(f"-w {directory}", f"the image leads it to {place}", "Name the place itself.")


def _within(place: str, tops: Iterable[str]) -> bool:
    return any(place == top or place.startswith(f"{top}/") for top in tops)


class Walk:
    """Ways through the merged layers of a container, upmost first."""

    def __init__(self, directories: list[str]) -> None:
        self._layers = directories
        self._looks = 0

    def trails(self, targets: Iterable[str]) -> dict[str, list[str]]:
        """For each target its trail. Raises Refused, NodeFault."""
        try:
            return {target: self.trail(target) for target in targets}
        except OSError as error:
            raise NodeFault("the layers of the image", str(error), "Tell the operators.") from None

    def trail(self, target: str) -> list[str]:
        """The places where the way to `target` comes through, with the last one where it ends."""
        # Each place with the directories that are merged there, none: it is no directory, or is not there yet.
        way: list[tuple[str, list[str]]] = [("", self._layers)]
        rest = target.split("/")[::-1]
        places: list[str] = []
        links = 0
        while rest:
            part = rest.pop()
            if part in ("", "."):
                continue
            if part == "..":
                way = way[:-1] or way
            else:
                place, directories = way[-1]
                link, merged = self._look(directories, part)
                if link is None:
                    way.append((f"{place}/{part}", merged))
                else:
                    links += 1
                    if links > MOST_LINKS:
                        raise Refused(f"a mount at {target}", "too many links of the image on its way", ELSEWHERE)
                    way = way[:1] if link.startswith("/") else way
                    rest += link.split("/")[::-1]
            places.append(way[-1][0] or "/")
        return places or ["/"]

    def file(self, target: str) -> str | None:
        """The file of a layer that is at `target`; "": nothing is there; None: a link on the way, or no file."""
        *above, name = target.strip("/").split("/")
        directories = self._layers
        for part in above:
            link, directories = self._look(directories, part)
            if link is not None:
                return None
        for directory in directories:
            path = f"{directory}/{name}"
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                continue
            if stat.S_ISCHR(mode):  # a whiteout
                return ""
            return path if stat.S_ISREG(mode) else None
        return ""

    def _look(self, directories: list[str], name: str) -> tuple[str | None, list[str]]:
        """(a link's text or None, the directories that are merged) of a name in a merged directory."""
        merged: list[str] = []
        for directory in directories:
            self._looks += 1
            if self._looks > MOST_LOOKS:
                raise Refused("the image", "too many layers and links to look through", ELSEWHERE)
            path = f"{directory}/{name}"
            try:
                facts = os.lstat(path)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(facts.st_mode):
                merged.append(path)
                if _opaque(path):
                    break
                continue
            # What is no directory ends the merge: a whiteout, a file, or a link, which counts where it is upmost.
            if stat.S_ISLNK(facts.st_mode) and not merged:
                return os.readlink(path), []
            break
        return None, merged


def _opaque(path: str) -> bool:
    """Does this directory of a layer hide those below it? Raises Refused where it says what we do not follow."""
    names = os.listxattr(path, follow_symlinks=False)
    marks = {name.removeprefix("trusted.overlay.") for name in names if name.startswith("trusted.overlay.")}
    if "opaque" in marks and os.getxattr(path, "trusted.overlay.opaque", follow_symlinks=False) == b"y":
        return True
    if strange := marks.difference(HARMLESS):
        # A redirect shows a directory of another name; an image can bring one along in its tar file.
        raise Refused("the image", f"its layers have overlayfs marks of their own ({min(strange)[:40]})", ELSEWHERE)
    return False
