# SPDX-License-Identifier: Apache-2.0
"""A client's connection: whole requests in, one at a time, and their answers out.

Whatever goes wrong with a request, the client gets one of our own errors; a bug
of ours is logged and answered with a 500 that says so.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol

import h11

from slurm_hooks import events
from slurm_hooks.broker import relay
from slurm_hooks.broker.channel import Channel
from slurm_hooks.broker.http1 import Intake, Request
from slurm_hooks.broker.peers import Asker, Peer, Registry
from slurm_hooks.broker.turns import Turn, Turns
from slurm_hooks.errors import BadConfig, BadRequest, Conflict, HooksError, NodeFault, Refused, unforeseen
from slurm_hooks.settings import Settings

IDLE_SECONDS = 60.0  # between requests; no connection of the docker CLI is idle for longer
REQUEST_SECONDS = 20.0  # from a request's first byte to its last, however it comes
REPLY_SECONDS = 30.0  # for a client to take an answer of ours
MOST_PENDING = 4 * 1024 * 1024  # bytes of all the requests of a user, from their first byte to their answer
CONNECTIONS_OF_A_JOB = 512  # a docker run has three or four


class Broker(Protocol):
    """What all connections share; server.Broker."""

    registry: Registry
    turns: Turns
    pending: Counter[int]  # bytes of requests that are under way, by uid
    of_jobs: Counter[str]  # connections, by the job's key
    leaving: bool  # another broker has the socket: no connection is kept for a next request

    def settings(self) -> Settings:
        """The site's configuration. Raises BadConfig."""

    async def upstream(self) -> relay.Upstream:
        """The jobs' dockerd. Raises NodeFault."""

    def known_upstream(self) -> relay.Upstream | None:
        """The jobs' dockerd, if it was found already."""

    def forget_upstream(self) -> None:
        """dockerd failed: look again at the next request."""

    def may_log_refusal(self, of: str) -> bool:
        """Is one more refusal of a job, or of a uid outside jobs, worth a line?"""


class Connection:
    """A client's connection: requests in, answers out."""

    def __init__(self, broker: Broker, handle: Handle, channel: Channel, peer: Peer) -> None:
        self.broker, self.handle, self.channel, self.peer = broker, handle, channel, peer
        self.intake = Intake()
        self.idle = False  # between two requests: to be ended whenever somebody wants to
        self._job = ""  # key of the job that the connection counts for
        self._pending = 0  # bytes of the request that is under way, as they are counted
        self._turn: Turn | None = None

    async def serve(self) -> None:
        """Until the client leaves, or an answer ends the connection."""
        try:
            while await self._served():
                pass
        finally:
            self._counts_for("")

    async def _served(self) -> bool:
        """A request and its answer; False where the connection is over."""
        try:
            try:
                request = await self._request()
            except BadRequest as error:
                await self._reply(error.http_status, relay.error_body(error))
                return False
            except TimeoutError:
                return False
            if request is None:
                return False
            self._turn = await self.broker.turns.begin(self.peer.uid)
            await self._answer(request)
        finally:
            self.waits()
            self._holds(0)
        done = self.intake.h11.our_state is h11.DONE and self.intake.h11.their_state is h11.DONE
        return done and not self.broker.leaving

    def waits(self) -> None:
        """The request costs nothing more but waiting: the user's next one may begin."""
        if self._turn is not None:
            self._turn.end()

    async def _request(self) -> Request | None:
        """The next whole request. Raises BadRequest, TimeoutError."""
        if self.intake.h11.our_state is h11.DONE:
            self.intake.ready_for_next()  # looks at what came early, so a BadRequest is answered as any other
        try:
            self.idle = not self.intake.pending
            async with asyncio.timeout(IDLE_SECONDS if self.idle else REQUEST_SECONDS) as limit:
                while True:
                    try:
                        request = self.intake.next()
                    except EOFError:
                        return None
                    self._holds(self.intake.pending)  # a whole one too: it may wait for its turn, or for a container
                    if self.broker.pending[self.peer.uid] > MOST_PENDING:
                        raise BadRequest("request", "4 MiB of requests are under way", "Send one after the other.")
                    if request is not None:
                        return request
                    if self.intake.h11.they_are_waiting_for_100_continue:
                        go_on = self.intake.h11.send(h11.InformationalResponse(status_code=100, headers=[]))
                        await self.channel.write(go_on or b"")
                    data = await self.channel.read()
                    if not data:
                        return None
                    if self.idle:
                        self.idle = False
                        limit.reschedule(asyncio.get_running_loop().time() + REQUEST_SECONDS)
                    self.intake.feed(data)
        finally:
            self.idle = False

    def _holds(self, size: int) -> None:
        """Of the request that is under way we keep so many bytes."""
        _add(self.broker.pending, self.peer.uid, size - self._pending)
        self._pending = size

    def _counts_for(self, key: str) -> None:
        """The connection is a job's from its first request on, "" for none. Raises Conflict where it has too many."""
        if self._job == key:
            return
        if self._job:
            _add(self.broker.of_jobs, self._job, -1)
        self._job = ""
        if key and self.broker.of_jobs[key] >= CONNECTIONS_OF_A_JOB:
            raise Conflict("docker", f"this job has {CONNECTIONS_OF_A_JOB} connections open", "Let some end.")
        if key:
            self._job = key
            _add(self.broker.of_jobs, key, 1)

    async def _answer(self, request: Request) -> None:
        asker: Asker | None = None
        try:
            # Asked after the body was read: the peer may have left the job while it sent.
            asker = self.peer.asker(self.broker.registry)
            self._counts_for(asker.job.key)
            await self.handle(self, asker, request)
        except HooksError as error:
            error = self._cause(error) if asker is None else error
            if isinstance(error, NodeFault):
                self.broker.forget_upstream()
            self._note(error, asker, request)
            await self._reply(error.http_status, relay.error_body(error, self._help()), head=request.method == "HEAD")
        except ConnectionError:
            raise  # the client left in the middle: nobody to answer, nothing wrong
        except (OSError, h11.LocalProtocolError) as error:
            if self.intake.h11.our_state is h11.SEND_RESPONSE:
                await self._reply(503, relay.error_body(NodeFault("slurm-hooks", str(error), "Tell the operators.")))
            events.record("broker-fault", job=asker.job.id if asker else 0, why=unforeseen(error))
        except Exception as error:
            events.record("broker-bug", job=asker.job.id if asker else 0, why=unforeseen(error))
            if self.intake.h11.our_state is h11.SEND_RESPONSE:
                await self._reply(
                    500, relay.error_body(NodeFault("slurm-hooks", "a bug of its own", "Tell the operators."))
                )
            raise

    def _help(self) -> str:
        """The site's own sentence for refusals; none while its configuration is broken."""
        try:
            return self.broker.settings().site.help
        except BadConfig:
            return ""

    def _cause(self, error: HooksError) -> HooksError:
        """Why a process is in no job that we know: with a broken configuration the Prolog opens no record."""
        try:
            self.broker.settings()
        except BadConfig as broken:
            return BadConfig(f"containers are off on this node: {broken}")
        return error

    def _note(self, error: HooksError, asker: Asker | None, request: Request) -> None:
        if error.http_status not in (403, 500, 503) or request.path == "/_ping":
            return
        if not self.broker.may_log_refusal(asker.job.key if asker else f"uid {self.peer.uid}"):
            return
        facts: dict[str, Any] = {"pid": self.peer.pid, "uid": self.peer.uid}
        if asker is not None:
            facts = {"job": asker.job.id, "restart": asker.job.restart}
        by = (error.by or ("endpoint" if asker else "asker")) if isinstance(error, Refused) else "node"
        events.record("refused", request=f"{request.method} {request.path}"[:200], by=by, why=str(error), **facts)

    async def _reply(self, status: int, body: bytes, kind: str = "application/json", *, head: bool = False) -> None:
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), *self._own_headers()]
        headers += [("Ostype", "linux"), ("Builder-Version", "1")]  # `docker run --device` asks /_ping for the first
        h = self.intake.h11
        try:
            data = h.send(h11.Response(status_code=status, headers=headers)) or b""
            if not head:
                data += h.send(h11.Data(data=body)) or b""
            data += h.send(h11.EndOfMessage()) or b""
        except h11.LocalProtocolError:
            # The request was broken off in the middle: h11 does not answer it, its sender still gets a word.
            data = (
                b"HTTP/1.1 %d \r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
                % (
                    status,
                    len(body),
                )
                + body
            )
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                await self.channel.write(data)
        except TimeoutError:
            raise ConnectionError("the client does not take its answer") from None

    def _own_headers(self) -> list[tuple[str, str]]:
        up = self.broker.known_upstream()
        return [("Api-Version", f"{up.version[0]}.{up.version[1]}")] if up else []

    async def reply_value(self, status: int, value: Any) -> None:
        """An answer of ours: a JSON value, or nothing."""
        await self._reply(status, b"" if value is None else json.dumps(value).encode() + b"\n")

    async def reply_text(self, status: int, text: str, *, head: bool = False) -> None:
        """An answer of ours in plain text."""
        await self._reply(status, text.encode(), "text/plain; charset=utf-8", head=head)

    async def pass_on(self, answer: relay.Answer) -> None:
        """dockerd's answer as it comes, its head at once (`docker run` sends /wait before /start)."""
        self.waits()
        h = self.intake.h11
        try:
            if answer.status == 101:
                await self._switch(answer)
                return
            headers: list[tuple[Any, Any]] = [*answer.headers, *self._own_headers()]
            known = any(name == b"content-length" for name, _ in answer.headers)
            if not known and answer.status not in (204, 304):
                headers.append(("Transfer-Encoding", "chunked"))
            head = h.send(h11.Response(status_code=answer.status, headers=headers)) or b""
            await self._until_client_leaves(self._body_of(answer, head))
        finally:
            answer.close()

    async def _body_of(self, answer: relay.Answer, head: bytes) -> None:
        h = self.intake.h11
        await self.channel.write(head)
        async with aclosing(answer.body()) as parts:  # a pull's turn ends with it
            async for part in parts:
                await self.channel.write(h.send(h11.Data(data=part)) or b"")
        await self.channel.write(h.send(h11.EndOfMessage()) or b"")

    async def _until_client_leaves(self, work: Awaitable[None]) -> None:
        """A client that ends `docker logs -f` or `docker wait` frees dockerd's side too."""
        task = asyncio.ensure_future(work)
        gone = asyncio.create_task(self.channel.left())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            for one in (task, gone):
                one.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    async def _switch(self, answer: relay.Answer) -> None:
        h = self.intake.h11
        headers: list[tuple[Any, Any]] = [("Connection", "Upgrade"), ("Upgrade", "tcp"), *answer.headers]
        switched = h.send(h11.InformationalResponse(status_code=101, reason=b"UPGRADED", headers=headers))
        early, _ = h.trailing_data
        await self.channel.write(switched or b"")
        await relay.splice(self.channel, answer, bytes(early))


def _add(of: Counter[Any], key: Any, number: int) -> None:
    """Without zeros, or the counter would grow for ever."""
    of[key] += number
    if not of[key]:
        del of[key]


Handle = Callable[[Connection, Asker, Request], Awaitable[None]]
