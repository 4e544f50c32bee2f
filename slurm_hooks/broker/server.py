# SPDX-License-Identifier: Apache-2.0
"""The broker's edge: accept, identify the peer by the kernel, admit or refuse, answer. The only asyncio loop.

One task a connection, one request at a time on it. Whatever goes wrong with a
request, the client gets one of our own errors; a bug of ours is logged and
answered with a 500 that says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import h11

from slurm_hooks import config, events
from slurm_hooks.broker import containers, http1, keeper, launch, node, relay, routes
from slurm_hooks.broker.http1 import Intake, Request
from slurm_hooks.broker.peers import Asker, Peer, Registry
from slurm_hooks.errors import BadConfig, BadRequest, HooksError, NodeFault, NotFound
from slurm_hooks.settings import Settings

SOCKET = f"{config.RUN}/docker.sock"
HEAD_SECONDS = 60.0  # an idle connection of the docker CLI lives no longer
BACKLOG = 256
REFUSALS_LOGGED = 100  # lines for each job
REFUSALS_KEPT = 10_000  # jobs that are counted


class Broker:
    """What all connections share: the settings, dockerd, the registry of jobs. No state that a restart would lose."""

    def __init__(self) -> None:
        self.registry = Registry()
        self._upstream: relay.Upstream | None = None
        self._settings: Settings | None = None
        self._stamp: list[int] = []
        self._refusals: dict[str, int] = {}

    def settings(self) -> Settings:
        """The site's configuration, read again when the file changed. Raises BadConfig: containers are off."""
        now = config.stamp()
        if self._settings is None or now != self._stamp:
            self._settings = None
            self._settings, self._stamp = config.load(), now
        return self._settings

    async def upstream(self) -> relay.Upstream:
        """The jobs' dockerd; found anew after it failed, as its version may have changed. Raises NodeFault."""
        if self._upstream is None:
            self._upstream = await relay.connect(self.settings().docker.socket)
        return self._upstream

    def may_log_refusal(self, of: str) -> bool:
        """Is one more refusal of a job (or of a uid outside jobs) worth a line? A loop must not fill the disk."""
        self._refusals[of] = self._refusals.get(of, 0) + 1
        if len(self._refusals) > REFUSALS_KEPT:
            self._refusals.pop(next(iter(self._refusals)))
        return self._refusals.get(of, 0) <= REFUSALS_LOGGED

    def forget_upstream(self) -> None:
        """dockerd failed: look again at the next request."""
        self._upstream = None


class Connection:
    """A client's connection: requests in, answers out."""

    def __init__(self, broker: Broker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        self.broker, self.reader, self.writer, self.peer = broker, reader, writer, peer
        self.intake = Intake()

    async def serve(self) -> None:
        """Until the client leaves, or an answer ends the connection."""
        while True:
            try:
                async with asyncio.timeout(HEAD_SECONDS):
                    request = await self._request()
            except BadRequest as error:
                await self._reply(error.http_status, relay.error_body(error))
                return
            except TimeoutError:
                return
            if request is None:
                return
            await self._answer(request)
            if self.intake.h11.our_state is not h11.DONE or self.intake.h11.their_state is not h11.DONE:
                return
            self.intake.ready_for_next()

    async def _request(self) -> Request | None:
        while True:
            try:
                request = self.intake.next()
            except EOFError:
                return None
            if request is not None:
                return request
            if self.intake.h11.they_are_waiting_for_100_continue:
                self.writer.write(self.intake.h11.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            data = await self.reader.read(relay.CHUNK)
            if not data:
                return None
            self.intake.feed(data)

    async def _answer(self, request: Request) -> None:
        asker: Asker | None = None
        try:
            # Asked after the body was read: the peer may have left the job while it sent.
            asker = self.peer.asker(self.broker.registry)
            match = routes.find(request)
            await HANDLERS[match.route.handler](self, asker, match, request)
        except HooksError as error:
            if isinstance(error, NodeFault):
                self.broker.forget_upstream()
            self._note(error, asker, request)
            await self._reply(error.http_status, relay.error_body(error), head=request.method == "HEAD")
        except ConnectionError:
            raise  # the client left in the middle: nobody to answer, nothing wrong
        except (OSError, h11.LocalProtocolError) as error:
            if self.intake.h11.our_state is h11.SEND_RESPONSE:
                await self._reply(503, relay.error_body(NodeFault("slurm-hooks", str(error), "Tell the operators.")))
            events.record("broker-fault", job=asker.job.id if asker else 0, why=f"{type(error).__name__}: {error}")
        except Exception as error:
            events.record("broker-bug", job=asker.job.id if asker else 0, why=f"{type(error).__name__}: {error}")
            if self.intake.h11.our_state is h11.SEND_RESPONSE:
                await self._reply(
                    500, relay.error_body(NodeFault("slurm-hooks", "a bug of its own", "Tell the operators."))
                )
            raise

    def _note(self, error: HooksError, asker: Asker | None, request: Request) -> None:
        if error.http_status not in (403, 500, 503) or request.path == "/_ping":
            return
        if not self.broker.may_log_refusal(asker.job.key if asker else f"uid {self.peer.uid}"):
            return
        facts: dict[str, Any] = {"pid": self.peer.pid, "uid": self.peer.uid}
        if asker is not None:
            facts = {"job": asker.job.id, "restart": asker.job.restart}
        events.record("refused", request=f"{request.method} {request.path}"[:200], why=str(error), **facts)

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
        self.writer.write(data)
        await self.writer.drain()

    def _own_headers(self) -> list[tuple[str, str]]:
        up = self.broker._upstream
        return [("Api-Version", f"{up.version[0]}.{up.version[1]}")] if up else []

    async def reply_value(self, status: int, value: Any) -> None:
        """An answer of ours: a JSON value, or nothing."""
        await self._reply(status, b"" if value is None else json.dumps(value).encode() + b"\n")

    async def reply_text(self, status: int, text: str, *, head: bool = False) -> None:
        """An answer of ours in plain text."""
        await self._reply(status, text.encode(), "text/plain; charset=utf-8", head=head)

    async def pass_on(self, answer: relay.Answer) -> None:
        """dockerd's answer as it comes, its head at once (`docker run` sends /wait before /start)."""
        h = self.intake.h11
        try:
            if answer.status == 101:
                await self._switch(answer)
                return
            headers: list[tuple[Any, Any]] = [*answer.headers, *self._own_headers()]
            known = any(name == b"content-length" for name, _ in answer.headers)
            if not known and answer.status not in (204, 304):
                headers.append(("Transfer-Encoding", "chunked"))
            self.writer.write(h.send(h11.Response(status_code=answer.status, headers=headers)) or b"")
            await self.writer.drain()
            await self._until_client_leaves(self._body_of(answer))
        finally:
            answer.close()

    async def _body_of(self, answer: relay.Answer) -> None:
        h = self.intake.h11
        async for part in answer.body():
            self.writer.write(h.send(h11.Data(data=part)) or b"")
            await self.writer.drain()
        self.writer.write(h.send(h11.EndOfMessage()) or b"")
        await self.writer.drain()

    async def _until_client_leaves(self, work: Awaitable[None]) -> None:
        """A client that ends `docker logs -f` or `docker wait` frees dockerd's side too."""
        task = asyncio.ensure_future(work)
        gone = asyncio.create_task(self._gone())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            for one in (task, gone):
                one.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    async def _gone(self) -> None:
        # Bytes that come early belong to the next request; h11 keeps them, and more than a head's worth ends it.
        received = 0
        while data := await self.reader.read(relay.CHUNK):
            received += len(data)
            if received > http1.MOST_HEAD:
                return
            self.intake.feed(data)

    async def _switch(self, answer: relay.Answer) -> None:
        h = self.intake.h11
        headers: list[tuple[Any, Any]] = [("Connection", "Upgrade"), ("Upgrade", "tcp"), *answer.headers]
        self.writer.write(
            h.send(h11.InformationalResponse(status_code=101, reason=b"UPGRADED", headers=headers)) or b""
        )
        await self.writer.drain()
        early, _ = h.trailing_data
        await relay.splice((self.reader, self.writer), answer, bytes(early))


# -- handlers: one for each word in routes.ROUTES --------------------------------------------------

Handler = Callable[[Connection, Asker, routes.Match, Request], Awaitable[None]]


async def _ping(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.broker.upstream()  # so that Api-Version is told, which clients ask here
    await c.reply_text(200, "OK", head=request.method == "HEAD")


async def _version(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.reply_value(*await node.version(await _served(c, request)))


async def _info(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.reply_value(*await node.info(await _served(c, request), asker))


async def _passed(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    await c.pass_on(await up.ask(request.method, request.path, match.query))


async def _absent(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    raise NotFound(f"No such object: {match.name}")


async def _list(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.reply_value(*await containers.listed(await _served(c, request), asker, match.query))


async def _inspect(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.reply_value(*await containers.inspected(await _served(c, request), asker, match.name, match.query))


async def _create(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    if not node.platform_is_ours(match.query.get("platform", "")):
        raise BadRequest(f"--platform {match.query['platform'][:40]}", "not this node's")
    up = await _served(c, request)
    await c.reply_value(*await launch.create(up, c.broker.settings(), asker, request.body, match.query.get("name", "")))


async def _start(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    c.broker.settings()
    await c.reply_value(*await launch.start(up, asker, containers.own(asker, match.name)))


async def _own(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    """A request about a container of the job's, passed on with its full id and no body."""
    up = await _served(c, request)
    note = containers.own(asker, match.name)
    path = match.route.template.replace("{id}", note.id)
    answer = await up.ask(request.method, path, match.query)
    await c.pass_on(answer)


async def _attach(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    if not request.upgrade:
        raise BadRequest("docker attach", "needs `Upgrade: tcp`")
    up = await _served(c, request)
    note = containers.own(asker, match.name)
    await c.pass_on(await up.ask("POST", f"/containers/{note.id}/attach", match.query, upgrade=True))


async def _remove(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    await c.reply_value(*await containers.removed(up, asker, match.name, force=match.query.get("force", "")))


async def _exec_create(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    await c.reply_value(*await launch.exec_create(up, asker, containers.own(asker, match.name), request.body))


async def _exec_start(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    await c.pass_on(await launch.exec_start(up, asker, match.name, request.body, upgrade=request.upgrade))


async def _exec_own(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    await launch.owned_exec(up, asker, match.name)
    await c.pass_on(await up.ask(request.method, request.path, match.query))


async def _join(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    try:
        settings, why = c.broker.settings(), ""
    except BadConfig as error:
        settings, why = None, str(error)
    await c.reply_text(*node.join(asker, settings, why))


async def _usage(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.reply_value(*node.usage(asker))


HANDLERS: dict[str, Handler] = {
    "ping": _ping,
    "version": _version,
    "info": _info,
    "images": _passed,
    "image": _passed,
    "absent": _absent,
    "list": _list,
    "inspect": _inspect,
    "create": _create,
    "start": _start,
    "own": _own,
    "attach": _attach,
    "remove": _remove,
    "exec-create": _exec_create,
    "exec-start": _exec_start,
    "exec-own": _exec_own,
    "join": _join,
    "usage": _usage,
}


async def _served(c: Connection, request: Request) -> relay.Upstream:
    """dockerd, for a request whose API version is served here. Raises BadRequest in moby's words, NodeFault."""
    up = await c.broker.upstream()
    asked = request.version
    if asked and asked > up.version:
        raise BadRequest(
            f"client version {asked[0]}.{asked[1]} is too new. Maximum supported API version is "
            f"{up.version[0]}.{up.version[1]}"
        )
    if asked and asked < up.oldest:
        raise BadRequest(
            f"client version {asked[0]}.{asked[1]} is too old. Minimum supported API version is "
            f"{up.oldest[0]}.{up.oldest[1]}, please upgrade your client to a newer version"
        )
    return up


# -- the program -----------------------------------------------------------------------------------


async def _accepted(broker: Broker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        peer = Peer(writer.get_extra_info("socket"))
    except (ProcessLookupError, OSError):
        writer.close()
        return
    try:
        await Connection(broker, reader, writer, peer).serve()
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        peer.close()
        writer.close()


def listening(path: str = SOCKET) -> socket.socket:
    """The socket, in place at once: bound under another name, then renamed over an old one."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    temporary = f"{path}.new"
    try:
        os.unlink(temporary)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(temporary)
    os.chmod(temporary, 0o666)  # safe for all: who asks is read from the kernel, and only jobs are served
    listener.listen(BACKLOG)
    os.rename(temporary, path)
    return listener


async def run(path: str = SOCKET) -> None:
    """Serve until SIGTERM or SIGINT. Containers live on; attached clients end with us."""
    broker = Broker()
    try:
        broker.settings()
    except BadConfig as error:  # serve all the same: a user must read why containers are off
        events.record("config-broken", why=str(error))
        print(f"<3>slurm-hooks: {error}", file=sys.stderr)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_unix_server(
        lambda reader, writer: _accepted(broker, reader, writer), sock=listening(path), limit=relay.CHUNK
    )
    beside = asyncio.create_task(keeper.run(broker.upstream, broker.forget_upstream, broker.registry))
    events.record("broker-start", pid=os.getpid())
    _notify("READY=1")
    print(f"slurm-hooks: the broker serves {path}", flush=True)
    await stop.wait()
    beside.cancel()
    server.close()


def _notify(state: str) -> None:
    """sd_notify(3): tell systemd, where it started us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            channel.sendall(state.encode())


def main() -> int:
    """The program `slurm-hooks broker`."""
    asyncio.run(run())
    return 0
