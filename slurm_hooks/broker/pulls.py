# SPDX-License-Identifier: Apache-2.0
"""docker pull and login: from the site's registries, with the user's own credentials, at a bounded cost to the node.

dockerd fetches and unpacks outside of the job's cgroup. So pulls wait for their turn, and one that grows
beyond the site's bound is broken off: dockerd ends a pull whose client has left.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from slurm_hooks import events, jobs
from slurm_hooks.broker import cache, images, layers, model
from slurm_hooks.broker.peers import Asker
from slurm_hooks.broker.relay import Answer, Upstream, json_of, message_of
from slurm_hooks.errors import BadRequest, Conflict, HooksError, Refused, with_help
from slurm_hooks.knobs import images as policy
from slurm_hooks.settings import Images, Settings

GIGABYTE = 1_000_000_000
LOOK_SECONDS = 0.5  # between two looks at the disk
NO_LOGIN = "Leave it out."


class Turns:
    """Pulls that go on at once: so many of a job, so many of the node; the others wait."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    def free(self, job: str, site: Images) -> bool:
        """Is there one now?"""
        return self._running[job] < site.pulls_of_job and self._running.total() < site.pulls_of_node

    @asynccontextmanager
    async def taken(self, job: str, site: Images) -> AsyncIterator[None]:
        """A turn, once there is one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.free(job, site))
            self._running[job] += 1
        try:
            yield
        finally:
            async with self._changed:
                self._running[job] -= 1
                self._running += Counter()  # forgets jobs without one
                self._changed.notify_all()


TURNS = Turns()


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image to pull, and the header that goes with it."""

    reference: policy.Reference
    auth: str = field(repr=False)


def wanted(site: Settings, image: str, tag: str, auth: str) -> Wanted:
    """A pull that the policy admits. Raises Refused, BadRequest."""
    reference = policy.to_pull(image, tag, site)
    return Wanted(reference, authorised(site, reference.domain, auth))


def authorised(site: Settings, domain: str, header: str) -> str:
    """X-Registry-Auth written anew, "" for none. Raises BadRequest, and Refused where it is for another registry."""
    try:
        # Go's base64.URLEncoding, as clients write it; the older standard alphabet is not taken by moby either.
        data = base64.b64decode(header.encode("ascii") or b"e30=", altchars=b"-_", validate=True)
    except ValueError:
        raise BadRequest("X-Registry-Auth", "not base64") from None
    given: model.Credentials = model.decode(data, model.Credentials)
    return _encoded(_own(site, given, domain)) if _says_something(given) else ""


def _says_something(given: model.Credentials) -> bool:
    return bool(given.username or given.password or given.identitytoken or given.registrytoken or given.auth)


def _own(site: Settings, given: model.Credentials, domain: str) -> dict[str, str]:
    if not site.images.credentials:
        raise Refused("docker login", "pulling with credentials of one's own is not offered here", NO_LOGIN)
    if given.serveraddress and policy.registry_of(given.serveraddress) != domain:
        raise Refused(
            f"docker pull from {domain}", f"the credentials are for {given.serveraddress[:80]}", "Use docker login."
        )
    fields = {
        "username": given.username,
        "password": given.password,
        "identitytoken": given.identitytoken,
        "registrytoken": given.registrytoken,
    }
    if any(not value.isprintable() for value in fields.values()):
        raise BadRequest("credentials", "a control character in them")
    return {name: value for name, value in fields.items() if value} | {"serveraddress": policy.address_of(domain)}


def _encoded(credentials: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(credentials).encode()).decode()


async def login(up: Upstream, site: Settings, body: bytes) -> tuple[int, Any]:
    """POST /auth: dockerd asks the registry whether it knows the user. Raises HooksError."""
    if not site.images.registries:
        raise Refused("docker login", "a job does not pull images", NO_LOGIN)
    given: model.Credentials = model.decode(body, model.Credentials)
    domain = policy.registry_of(given.serveraddress)
    policy.refuse_registry(f"docker login {domain[:80]}", domain, site)
    return await up.value("POST", "/auth", body=_own(site, given, domain))


async def described(up: Upstream, site: Settings, image: str, auth: str) -> tuple[int, Any]:
    """GET /distribution/{name}/json: an image's digest and platforms, as its registry has it. Raises HooksError."""
    parsed = policy.parse(image)
    reference = policy.to_pull(image, "" if parsed.tag or parsed.digest else "latest", site)
    answer = await up.ask(
        "GET", f"/distribution/{reference.name}/json", registry_auth=authorised(site, reference.domain, auth)
    )
    try:
        said = await answer.whole()
    finally:
        answer.close()
    try:
        return answer.status, json.loads(said)
    except ValueError:
        raise BadRequest(f"image {image}", said.decode("utf-8", "replace")) from None


async def begin(up: Upstream, site: Settings, asker: Asker, pull: Wanted) -> Answer:
    """POST /images/create: dockerd's answer, watched as it comes. Raises HooksError."""
    now = jobs.load(asker.job.key)
    if now is None or now.state != jobs.OPEN:
        raise Conflict("this job is ending", "nothing is pulled in it any more")
    reference = pull.reference
    before = await images.look(up, reference.name)
    query = {"fromImage": reference.repository, "tag": reference.digest or reference.tag}
    answer = await up.ask("POST", "/images/create", query, registry_auth=pull.auth)
    if answer.status != 200:
        return answer
    return Watched(answer, up, site, asker, reference, before)


class Queued(Answer):
    """A pull that waits for its turn, and says so; it begins within its answer, so what goes wrong is told there."""

    def __init__(self, up: Upstream, site: Settings, asker: Asker, pull: Wanted) -> None:
        self._up, self._site, self._asker, self._pull = up, site, asker, pull
        self.status, self.reason, self.headers = 200, b"OK", [(b"content-type", b"application/json")]

    async def body(self) -> AsyncGenerator[bytes, None]:
        """A line of ours, then dockerd's."""
        yield _line({"status": f"Waiting for {self._pull.reference.name}: other pulls are under way on this node"})
        async with TURNS.taken(self._asker.job.key, self._site.images):
            try:
                answer = await begin(self._up, self._site, self._asker, self._pull)
            except HooksError as error:
                yield _error(with_help(error, self._site.site.help))
                return
            try:
                if answer.status != 200:
                    yield _error(message_of(json_of(await answer.whole())))
                    return
                async with aclosing(answer.body()) as parts:
                    async for part in parts:
                        yield part
            finally:
                answer.close()

    def close(self) -> None:
        """What it holds ends with its body."""


def _line(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode() + b"\r\n"


def _error(text: str) -> bytes:
    return _line({"errorDetail": {"message": text}, "error": text})


class Watched(Answer):
    """A pull's progress, passed on line by line, while it stays within the bound."""

    def __init__(
        self,
        answer: Answer,
        up: Upstream,
        site: Settings,
        asker: Asker,
        reference: policy.Reference,
        before: images.Image | None,
    ) -> None:
        self._answer, self._up, self._site, self._asker = answer, up, site, asker
        self._reference, self._before = reference, before
        self.status, self.reason, self.headers = answer.status, answer.reason, answer.headers
        self._began = time.monotonic()
        self._totals: dict[str, int] = {}  # layer → bytes to download
        self._failed = ""  # dockerd's own word of an error, which the client has had
        self._noted = False

    async def body(self) -> AsyncGenerator[bytes, None]:
        """dockerd's lines; a last one of ours where the image is too large."""
        bound = int(self._site.images.largest_gigabytes * GIGABYTE)
        disk = Disk(await layers.unpacked_at(self._up, self._site.docker.data_root))
        rest = b""
        async for part in self._answer.body():
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                self._read(line)
                yield line + b"\n"
            if bound and (sum(self._totals.values()) > bound or disk.grown(self._site.images) > bound):
                self._answer.close()
                yield self._refused()
                return
        yield rest
        found = await images.look(self._up, self._reference.name) if not self._failed else None
        if found is not None and bound and found.size > bound:
            # Unpacked it is too large: away with it, unless it was here before.
            if self._before is None or self._before.id != found.id:
                await self._up.value("DELETE", f"/images/{self._reference.name}")
            yield self._refused(found.size)
            return
        if found is not None:
            images.used(found.id)
            cache.GROWN.set()
        self._note(self._failed, found.size if found else 0)

    def _read(self, line: bytes) -> None:
        try:
            said = json.loads(line)
            if said.get("status") == "Downloading":
                self._totals[str(said["id"])] = int(said["progressDetail"]["total"])
            self._failed = str(said.get("error") or self._failed)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # an empty line, or one without figures

    def _refused(self, unpacked: int = 0) -> bytes:
        most = f"larger than {self._site.images.largest_gigabytes:g} GB, which is the most here"
        text = str(Refused(f"docker pull {self._reference.name}", most, policy.BRING))
        self._note(text, unpacked)
        return _error(text)

    def _note(self, why: str, unpacked: int = 0) -> None:
        self._noted = True
        events.record(
            "pull", job=self._asker.job.id, restart=self._asker.job.restart, image=self._reference.name,
            seconds=round(time.monotonic() - self._began, 2), bytes=sum(self._totals.values()), unpacked=unpacked,
            why=why,
        )  # fmt: skip

    def close(self) -> None:
        """dockerd ends a pull whose client has left."""
        self._answer.close()
        if not self._noted:
            self._note("its client left")


class Disk:
    """How much a file system has filled since a moment: the one way to see an image that unpacks to no end."""

    def __init__(self, path: str) -> None:
        self._path, self._looked, self._grown = path, 0.0, 0
        self._free = self._now()

    def _now(self) -> int | None:
        try:
            facts = os.statvfs(self._path)
        except OSError:  # a network's, for instance, that does not answer now
            return None
        return facts.f_bavail * facts.f_frsize

    def grown(self, site: Images) -> int:
        """Bytes for each of the pulls that may go on at once; looked at twice a second."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            now = self._now()
            self._free = now if self._free is None else self._free
            if now is not None and self._free is not None:
                self._grown = (self._free - now) // site.pulls_of_node
        return self._grown
