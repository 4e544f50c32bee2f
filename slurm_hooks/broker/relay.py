# SPDX-License-Identifier: Apache-2.0
"""Our own requests to the jobs' dockerd: one connection each, to a path that we composed, in one API version.

A connection is never used twice: dockerd would serve a second, smuggled request
after a failed upgrade. Bytes are spliced only after a real 101.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import h11

from slurm_hooks.broker.channel import Channel, connected
from slurm_hooks.errors import HooksError, NodeFault, with_help

TESTED = ((1, 41), (1, 44))  # API versions that the suite runs; dockerd 20.10 ends at 1.41, Docker 29 begins at 1.44
CONNECT_SECONDS = 5.0
MOST_LINE = 4 * 1024 * 1024  # bytes; an event bears all labels of its container, which came in a body of 1 MiB
LINGER_SECONDS = 10.0  # for a client to leave after its stream has ended
PASSED = (
    b"content-type",
    b"content-length",
    b"docker-experimental",
    b"ostype",
    b"server",
    b"x-docker-container-path-stat",
)


class Answer:
    """dockerd's answer: its head, then its body as it comes. Close it."""

    def __init__(self, channel: Channel, client: h11.Connection) -> None:
        self.channel, self.h11 = channel, client
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []

    async def _event(self) -> Any:
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.h11.receive_data(await self.channel.read())
        return event

    async def head(self) -> None:
        """Wait for the answer's head."""
        event = await self._event()
        if isinstance(event, h11.InformationalResponse) and event.status_code != 101:
            event = await self._event()
        if not isinstance(event, h11.Response | h11.InformationalResponse):
            raise NodeFault("dockerd", "closed the connection without an answer")
        self.status, self.reason = event.status_code, event.reason
        self.headers = [(name, value) for name, value in event.headers if name in PASSED]

    async def body(self) -> AsyncGenerator[bytes, None]:
        """The body, piece by piece. Raises ConnectionError where dockerd breaks off in it."""
        try:
            while isinstance(event := await self._event(), h11.Data):
                yield bytes(event.data)
        except h11.RemoteProtocolError as error:
            raise ConnectionAbortedError(f"dockerd broke off ({error})") from None

    async def lines(self) -> AsyncIterator[bytes]:
        """The body of a stream of JSON values, line by line, without the empty ones. Raises ConnectionError."""
        rest = b""
        async for part in self.body():
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > MOST_LINE:
                raise ConnectionAbortedError("a line of dockerd's that does not end")
            for line in filter(None, lines):
                yield line
        if rest:
            yield rest

    async def whole(self) -> bytes:
        """The body at once. Raises NodeFault."""
        try:
            return b"".join([part async for part in self.body()])
        except ConnectionError as error:
            raise NodeFault("docker on this node", str(error), _LATER) from None

    async def proved(self) -> None:
        """After a 101 was passed on, before any byte is: what must be waited for. Here nothing."""

    def early(self) -> bytes:
        """After a 101: what dockerd sent right behind it."""
        return bytes(self.h11.trailing_data[0])

    def close(self) -> None:
        """Give the connection up, in whatever state."""
        self.channel.close()


@dataclass(frozen=True)
class Upstream:
    """The jobs' dockerd behind its socket, spoken to in one API version."""

    socket: str
    version: tuple[int, int]
    oldest: tuple[int, int]  # that dockerd itself serves

    async def ask(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Any = None,
        *,
        upgrade: bool = False,
        versioned: bool = True,
        registry_auth: str = "",
    ) -> Answer:
        """Send a request; the answer with its head read. `body` is a JSON value. Raises NodeFault."""
        prefix = f"/v{self.version[0]}.{self.version[1]}" if versioned else ""
        target = prefix + path + (f"?{urlencode(query)}" if query else "")
        data = b"" if body is None else json.dumps(body).encode()
        headers = [("Host", "docker"), ("User-Agent", "slurm-hooks"), ("Content-Length", str(len(data)))]
        headers += [("Content-Type", "application/json")] if data else []
        headers += [("X-Registry-Auth", registry_auth)] if registry_auth else []
        headers += [("Connection", "Upgrade"), ("Upgrade", "tcp")] if upgrade else [("Connection", "close")]
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                channel = await connected(self.socket)
        except (OSError, TimeoutError) as error:
            raise NodeFault("docker on this node", f"dockerd does not answer ({error or 'timeout'})", _LATER) from None
        client = h11.Connection(h11.CLIENT)
        answer = Answer(channel, client)
        try:
            sent = client.send(h11.Request(method=method, target=target, headers=headers)) or b""
            sent += (client.send(h11.Data(data=data)) or b"") if data else b""
            sent += client.send(h11.EndOfMessage()) or b""
            await channel.write(sent)
            await answer.head()
        except (OSError, h11.ProtocolError) as error:
            answer.close()
            raise NodeFault("docker on this node", f"dockerd broke off ({error})", _LATER) from None
        except BaseException:
            answer.close()
            raise
        return answer

    async def value(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None
    ) -> tuple[int, Any]:
        """Ask for a JSON value: (status, value); the value of an empty body is None. Raises NodeFault."""
        answer = await self.ask(method, path, query, body)
        try:
            data = await answer.whole()
        finally:
            answer.close()
        return answer.status, json_of(data)


_LATER = "Try again, or tell the operators."


async def connect(socket: str) -> Upstream:
    """Find dockerd's API versions and choose the newest tested one that it speaks. Raises NodeFault."""
    probe = Upstream(socket, TESTED[-1], TESTED[0])
    answer = await probe.ask("GET", "/version", versioned=False)
    try:
        said = json.loads(await answer.whole())
    finally:
        answer.close()
    newest, oldest = _version(said["ApiVersion"]), _version(said.get("MinAPIVersion", "1.12"))
    for version in reversed(TESTED):
        if oldest <= version <= newest:
            return Upstream(socket, version, oldest)
    raise NodeFault(
        "dockerd", f"speaks API {said.get('MinAPIVersion')} to {said['ApiVersion']}, none of which is tested here"
    )


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


async def splice(client: Channel, answer: Answer, early: bytes) -> None:
    """Copy both ways until both sides have ended; a half-close is passed on (`echo x | docker run -i`).

    A client that has left altogether ends it too, also where its container says nothing for a week, and one
    that does not leave after the container's end is left.
    """
    await answer.proved()
    await answer.channel.write(early)
    await client.write(answer.early())
    inward = asyncio.create_task(_copy(client, answer.channel))
    outward = asyncio.create_task(_copy(answer.channel, client))
    left = asyncio.create_task(client.left())
    try:
        await asyncio.wait((outward, left), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((inward, left), timeout=LINGER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (inward, outward, left):
            task.cancel()
        await asyncio.gather(inward, outward, left, return_exceptions=True)


async def _copy(source: Channel, target: Channel) -> None:
    with suppress(OSError):
        while data := await source.read():
            await target.write(data)
    with suppress(OSError):
        target.write_eof()


def json_of(data: bytes) -> Any:
    """A whole body's value; None where it is empty, a message where it is no JSON."""
    try:
        return json.loads(data) if data else None
    except ValueError:
        return {"message": data.decode("utf-8", "replace").strip()}


def message_of(value: Any) -> str:
    """dockerd's own words of an error answer."""
    return str(value.get("message", "")) if isinstance(value, dict) else ""


def error_body(error: HooksError, site_help: str = "") -> bytes:
    """An error as dockerd's clients expect it; a refusal ends with the site's own sentence."""
    return json.dumps({"message": with_help(error, site_help)}).encode() + b"\n"
