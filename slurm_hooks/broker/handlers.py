# SPDX-License-Identifier: Apache-2.0
"""One handler for each word in routes.ROUTES: what is done with an admitted request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from slurm_hooks.broker import account, answers, containers, execs, filters, images, launch, node, pulls, relay, routes
from slurm_hooks.broker.connection import Connection
from slurm_hooks.broker.http1 import Request
from slurm_hooks.broker.peers import Asker
from slurm_hooks.errors import BadConfig, BadRequest, NotFound, refused_by

Handler = Callable[[Connection, Asker, routes.Match, Request], Awaitable[None]]


async def handle(c: Connection, asker: Asker, request: Request) -> None:
    """Find the request's row and do what it says. Raises HooksError."""
    match = routes.find(request)
    with refused_by(match.route.handler):
        await HANDLERS[match.route.handler](c, asker, match, request)


async def _ping(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.broker.upstream()  # so that Api-Version is told, which clients ask here
    await c.reply_text(200, "OK", head=request.method == "HEAD")


async def _version(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.reply_value(*await node.version(await _served(c, request)))


async def _info(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.reply_value(*await node.info(await _served(c, request), asker))


async def _images(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.reply_value(*await images.listed(await _served(c, request), c.broker.settings(), match.query))


async def _image(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.reply_value(200, await images.inspected(await _served(c, request), c.broker.settings(), match.name))


async def _pull(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    if not node.platform_is_ours(match.query.get("platform", "")):
        raise BadRequest(f"--platform {match.query['platform'][:40]}", "not this node's")
    up = await _served(c, request)
    site, query = c.broker.settings(), match.query
    wanted = pulls.wanted(site, query.get("fromImage", ""), query.get("tag", ""), request.registry_auth)
    if not pulls.TURNS.free(asker.job.key, site.images):
        await c.pass_on(pulls.Queued(up, site, asker, wanted))
        return
    async with pulls.TURNS.taken(asker.job.key, site.images):
        await c.pass_on(await pulls.begin(up, site, asker, wanted))


async def _distribution(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    await c.reply_value(*await pulls.described(up, c.broker.settings(), match.name, request.registry_auth))


async def _login(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.reply_value(*await pulls.login(await _served(c, request), c.broker.settings(), request.body))


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
    asker = replace(asker, limits=c.peer.limits())
    await c.reply_value(*await launch.create(up, c.broker.settings(), asker, request.body, match.query.get("name", "")))


async def _start(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    site = c.broker.settings()
    await c.reply_value(*await launch.start(up, site, asker, containers.own(asker, match.name)))


async def _own(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    """A request about a container of the job's, passed on with its full id and no body."""
    up = await _served(c, request)
    note = containers.own(asker, match.name)
    path = match.route.template.replace("{id}", note.id)
    c.waits()
    await _pass(c, asker, await up.ask(request.method, path, match.query), note.id, match.name)


async def _stats(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    c.waits()
    await _pass(c, asker, await containers.measured(await _served(c, request), asker, match.name, match.query))


async def _events(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    c.waits()
    await _pass(c, asker, await containers.watched(await _served(c, request), asker, match.query))


async def _pause(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    verb = match.route.template.rpartition("/")[2]
    await c.reply_value(*await containers.kept(await _served(c, request), asker, match.name, verb))


async def _restart(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    site = c.broker.settings()
    await c.reply_value(*await launch.restart(up, site, asker, containers.own(asker, match.name), match.query))


async def _rename(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    await c.reply_value(*await containers.renamed(up, asker, match.name, match.query.get("name", "")))


async def _prune(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.reply_value(*await containers.pruned(await _served(c, request), asker, match.query))


async def _networks(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await _served(c, request)
    asked = filters.decoded(match.query.get("filters", ""))
    await c.reply_value(200, answers.networks(asked, c.broker.settings().network))


async def _network(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await _served(c, request)
    for one in answers.offered(c.broker.settings().network):
        if match.name in (one["Name"], one["Id"]):
            await c.reply_value(200, one)
            return
    raise NotFound(f"network {match.name} not found")


async def _volumes(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await _served(c, request)
    await c.reply_value(200, {"Volumes": [], "Warnings": None})


async def _attach(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    if not request.upgrade:
        raise BadRequest("docker attach", "needs `Upgrade: tcp`")
    up = await _served(c, request)
    note = containers.own(asker, match.name)
    await _pass(
        c, asker, await up.ask("POST", f"/containers/{note.id}/attach", match.query, upgrade=True), note.id, match.name
    )


async def _remove(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    await c.reply_value(*await containers.removed(up, asker, match.name, force=match.query.get("force", "")))


async def _exec_create(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    await c.reply_value(*await execs.create(up, asker, containers.own(asker, match.name), request.body))


async def _exec_start(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    await _pass(c, asker, await execs.start(up, asker, match.name, request.body, upgrade=request.upgrade))


async def _exec_own(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    up = await _served(c, request)
    await execs.owner(up, asker, match.name)
    await _pass(c, asker, await up.ask(request.method, request.path, match.query))


async def _join(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    try:
        settings, why = c.broker.settings(), ""
    except BadConfig as error:
        settings, why = None, str(error)
    await c.reply_text(*node.join(asker, settings, why))


async def _account(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await account.settled(asker.job)
    await c.reply_text(200, account.told(asker))


async def _usage(c: Connection, asker: Asker, match: routes.Match, request: Request) -> None:
    await c.reply_value(*node.usage(asker))


HANDLERS: dict[str, Handler] = {
    "ping": _ping,
    "version": _version,
    "info": _info,
    "images": _images,
    "image": _image,
    "pull": _pull,
    "distribution": _distribution,
    "login": _login,
    "absent": _absent,
    "list": _list,
    "inspect": _inspect,
    "create": _create,
    "start": _start,
    "own": _own,
    "stats": _stats,
    "events": _events,
    "pause": _pause,
    "restart": _restart,
    "rename": _rename,
    "prune": _prune,
    "networks": _networks,
    "network": _network,
    "volumes": _volumes,
    "attach": _attach,
    "remove": _remove,
    "exec-create": _exec_create,
    "exec-start": _exec_start,
    "exec-own": _exec_own,
    "join": _join,
    "account": _account,
    "usage": _usage,
}


async def _pass(c: Connection, asker: Asker, answer: relay.Answer, id_: str = "", typed: str = "") -> None:
    """dockerd's answer as it comes; an error is read whole first, and told with the job's own names."""
    if answer.status < 400:
        await c.pass_on(answer)
        return
    try:
        said = relay.json_of(await answer.whole())
    finally:
        answer.close()
    await c.reply_value(*containers.own_words(asker, answer.status, said, id_, typed))


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
