# SPDX-License-Identifier: Apache-2.0
"""Every endpoint that is served, and words for those that are not. Pure data, and its look-up.

A request that matches no row of ROUTES is refused. A query parameter that the
row does not name is refused when it says something; the values of the others
must match whole. What goes upstream is composed anew from these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from slurm_hooks.broker.http1 import Request
from slurm_hooks.errors import BadRequest, Refused

FLAG = "0|1|true|false|True|False"
NUMBER = "-?[0-9]{1,9}"
SINCE = "[0-9]{0,12}(\\.[0-9]{1,9})?"
ANY = ".{0,4096}"
NAME = "/?[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}"
NAME_RULE = "Take 2 to 128 of a-z, A-Z, 0-9, _ . -, a letter or digit first."
SIGNAL = "(SIG)?[A-Z0-9+-]{0,16}"
KEYS = "[a-zA-Z0-9@\\[\\]\\\\^_,-]{0,64}"
STREAMS = "stdin stdout stderr"
# dockerd runs ps as root over the whole node with these words and keeps the lines whose PID is the container's. It
# finds that column by counting words, so nothing that may hold a blank stands before it.
_COLUMNS = (
    "ppid|pgid|sid|uid|user|gid|group|pcpu|pmem|rss|vsz|sz|nlwp|stat|state|s|time|etime|etimes|tty|tname|nice|ni|pri|"
    "cls|psr|start|lstart|stime|comm|ucmd|args|cmd|command"
)
PS_ARGS = f"-?(ef|eF|aux|axu|u)|-?(e|ax)?o ?pid(,({_COLUMNS}))*"


@dataclass(frozen=True, slots=True)
class Route:
    """A row: method and path template; who handles it; query parameters and what they may be."""

    method: str
    template: str
    handler: str
    query: MappingProxyType[str, str]
    client: str  # the docker command that comes here, for people

    @property
    def pattern(self) -> re.Pattern[str]:
        """The template as an expression with the groups `id` or `image`."""
        expression = self.template.replace("{id}", "(?P<id>[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127})")
        return re.compile(expression.replace("{image}", "(?P<image>[a-zA-Z0-9][a-zA-Z0-9_./:@-]{0,511})"))


def _route(method: str, template: str, handler: str, client: str, flags: str = "", **query: str) -> Route:
    """`flags` are parameters that are true or false."""
    values = dict.fromkeys(flags.split(), FLAG) | query
    return Route(method, template, handler, MappingProxyType(values), client)


ROUTES: tuple[Route, ...] = (
    # -- the node
    _route("GET", "/_ping", "ping", "every command"),
    _route("HEAD", "/_ping", "ping", "every command"),
    _route("GET", "/version", "version", "docker version"),
    _route("GET", "/info", "info", "docker info"),
    # -- images of the node, to read
    _route("GET", "/images/json", "images", "docker images", "all digests shared-size manifests", filters=ANY),
    _route("GET", "/images/{image}/json", "image", "docker image inspect", "manifests"),
    # -- images from the site's registries
    _route("POST", "/images/create", "pull", "docker pull", fromImage=ANY, tag=ANY, platform=ANY),
    _route("GET", "/distribution/{image}/json", "distribution", "docker manifest"),
    _route("POST", "/auth", "login", "docker login"),
    # -- containers of the asking job
    _route("GET", "/containers/json", "list", "docker ps", "all size", limit=NUMBER, filters=ANY),
    _route("POST", "/containers/create", "create", "docker run, docker create", name=NAME, platform=ANY),
    _route("POST", "/containers/{id}/start", "start", "docker run, docker start", detachKeys=KEYS),
    _route("GET", "/containers/{id}/json", "inspect", "docker inspect", "size"),
    _route("POST", "/containers/{id}/attach", "attach", "docker attach", f"stream logs {STREAMS}", detachKeys=KEYS),
    _route("POST", "/containers/{id}/wait", "own", "docker wait", condition="not-running|next-exit|removed"),
    _route("POST", "/containers/{id}/restart", "restart", "docker restart", t=NUMBER, signal=SIGNAL),
    _route("POST", "/containers/{id}/pause", "pause", "docker pause"),
    _route("POST", "/containers/{id}/unpause", "pause", "docker unpause"),
    _route("POST", "/containers/{id}/rename", "rename", "docker rename", name=NAME),
    _route("GET", "/containers/{id}/top", "own", "docker top", ps_args=PS_ARGS),
    _route("GET", "/containers/{id}/stats", "stats", "docker stats", "stream one-shot"),
    _route("GET", "/containers/{id}/changes", "own", "docker diff"),
    _route("POST", "/containers/prune", "prune", "docker container prune", filters=ANY),
    _route("GET", "/events", "events", "docker events", since=SINCE, until=SINCE, filters=ANY),
    _route("POST", "/containers/{id}/resize", "own", "docker run -t", h=NUMBER, w=NUMBER),
    _route(
        "GET", "/containers/{id}/logs", "own", "docker logs", "follow stdout stderr timestamps details",
        since=SINCE, until=SINCE, tail="all|[0-9]{1,9}",
    ),
    _route("POST", "/containers/{id}/stop", "own", "docker stop", t=NUMBER, signal=SIGNAL),
    _route("POST", "/containers/{id}/kill", "own", "docker kill", signal=SIGNAL),
    _route("DELETE", "/containers/{id}", "remove", "docker rm", "v force"),
    _route("POST", "/containers/{id}/exec", "exec-create", "docker exec"),
    _route("POST", "/exec/{id}/start", "exec-start", "docker exec"),
    _route("POST", "/exec/{id}/resize", "exec-own", "docker exec -t", h=NUMBER, w=NUMBER),
    _route("GET", "/exec/{id}/json", "exec-own", "docker exec"),
    # -- what a job has of networks and volumes: the network that is none, and none
    _route("GET", "/networks", "networks", "docker network ls", filters=ANY),
    _route("GET", "/networks/{image}", "network", "docker network inspect", "verbose", scope=ANY),
    _route("GET", "/volumes", "volumes", "docker volume ls", filters=ANY),
    # -- what `docker inspect NAME` asks for before images, and after them: there is none, and it may look on
    _route("GET", "/containers/{image}/json", "absent", "docker inspect", "size"),
    _route("GET", "/volumes/{image}", "absent", "docker inspect"),
    _route("GET", "/plugins/{image}/json", "absent", "docker inspect"),
    # -- our own, beside Docker's
    _route("POST", "/slurm-hooks/join", "join", "the TaskProlog"),
    _route("POST", "/slurm-hooks/account", "account", "the TaskEpilog"),
    _route("GET", "/slurm-hooks/usage", "usage", "slurm-hooks"),
)  # fmt: skip

PATTERNS = tuple((route, route.pattern) for route in ROUTES)

# (method, path) expression → the command as typed, the rule, what to do instead.
BRING_IMAGE = "Ask the site to bring the image to the nodes."
SHARED = "images are shared by all jobs of the node"
REFUSALS: tuple[tuple[re.Pattern[str], str, str, str], ...] = tuple(
    (re.compile(pattern), what, why, todo)
    for pattern, what, why, todo in (
        ("POST /(build|session|grpc|build/.*)", "docker build", "images are not built inside jobs", BRING_IMAGE),
        ("POST /images/.*/push", "docker push", "a job's images do not leave the node", "Push from elsewhere."),
        ("POST /images/load", "docker load", SHARED, BRING_IMAGE),
        ("POST /images/.*/tag", "docker tag", SHARED, "Use the name that it has."),
        ("DELETE /images/.*", "docker rmi", SHARED, "Leave it; the site cleans up."),
        ("POST /commit", "docker commit", "images are not made inside jobs", "Keep results in a bind mount."),
        (
            "[A-Z]+ /containers/[^/]+/archive", "docker cp", "the daemon would copy as root",
            "Use a bind mount, or: docker exec CONTAINER cat FILE.",
        ),
        ("GET /containers/[^/]+/export", "docker export", "the daemon would copy as root", "Use a bind mount."),
        ("POST /containers/[^/]+/update", "docker update", "limits are set at the start", "Start another container."),
        ("[A-Z]+ /networks.*", "docker network", "a job's container has no network but its loopback", "Leave it out."),
        ("[A-Z]+ /volumes.*", "docker volume", "volumes are not offered in jobs", "Mount a directory: -v /path:/path."),
        ("GET /system/df", "docker system df", "what lies on the node is the site's", "Use `docker ps -as`."),
        (
            "[A-Z]+ /(swarm|nodes|services|tasks|secrets|configs|plugins)(/.*)?", "docker swarm, service, plugin",
            "a job is no swarm", "Leave it out.",
        ),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Match:
    """A request's row, the name in its path, and its query, each value proved."""

    route: Route
    name: str
    query: dict[str, str]


def find(request: Request) -> Match:
    """The row of a request. Raises Refused, or BadRequest for a query that its row does not know."""
    for route, pattern in PATTERNS:
        if route.method == request.method and (match := pattern.fullmatch(request.path)):
            return Match(route, next(iter(match.groupdict().values()), ""), _proved(route, request.query))
    text = f"{request.method} {request.path}"
    for expression, what, why, todo in REFUSALS:
        if expression.fullmatch(text):
            raise Refused(what, why, todo)
    raise Refused(text[:120], "not offered in a job", "See the list of commands in slurm-hooks' user guide.")


def _proved(route: Route, query: dict[str, str]) -> dict[str, str]:
    kept = {}
    for name, value in query.items():
        if name not in route.query:
            if value not in ("", "0", "false", "False"):
                raise Refused(f"{route.client}: {name}={value[:40]}", "not offered in a job", "Leave it out.")
            continue
        if value and not re.fullmatch(route.query[name], value):
            what = f"{route.client}: {name}={value[:40]!r}"
            if route.query[name] is NAME:
                raise BadRequest(what, "not a name of a container", NAME_RULE)
            raise BadRequest(what, "not a value that it may have")
        if value:
            kept[name] = value
    return kept
