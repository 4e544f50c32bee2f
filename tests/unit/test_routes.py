# SPDX-License-Identifier: Apache-2.0
"""The endpoint table: what matches which row, and what a query may say."""

from __future__ import annotations

import pytest

from slurm_hooks.broker import routes
from slurm_hooks.broker.http1 import Request
from slurm_hooks.errors import BadRequest, Refused

ID = "0123456789abcdef" * 4


def find(method: str, path: str, **query: str) -> routes.Match:
    return routes.find(Request(method, (1, 44), path, query))


@pytest.mark.parametrize("route", routes.ROUTES, ids=lambda route: f"{route.method} {route.template}")
def test_each_row_is_found_by_its_path(route: routes.Route) -> None:
    path = route.template.replace("{id}", ID).replace("{image}", "reg.example:5000/a/img:1.0")
    match = find(route.method, path)
    assert match.route is route
    assert match.name == (
        ID if "{id}" in route.template else "reg.example:5000/a/img:1.0" if "{" in path else match.name
    )


@pytest.mark.parametrize("route", routes.ROUTES, ids=lambda route: f"{route.method} {route.template}")
@pytest.mark.parametrize("method", ["PUT", "PATCH", "get"])
def test_no_row_is_found_by_another_method(route: routes.Route, method: str) -> None:
    path = route.template.replace("{id}", ID).replace("{image}", "img")
    with pytest.raises(Refused):
        find(method, path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/containers",
        "/containers/",
        "/containers/json/",
        "/containers/c/json/x",
        "/containers/c/attach/ws",
        "/containers/c/checkpoints",
        "/v1.44/info",
        "/debug/pprof",
        "/grpc",
        "/images/get",
        "/images//json",
        "/containers/c/json\n",
    ],
)
def test_another_path_is_refused(path: str) -> None:
    with pytest.raises(Refused):
        find("GET", path)


@pytest.mark.parametrize("value", ["", "0", "false", "False"])
def test_an_unknown_parameter_that_says_nothing_is_dropped(value: str) -> None:
    assert find("GET", "/info", invented=value).query == {}


@pytest.mark.parametrize("value", ["1", "true", "no", "0 ", "00"])
def test_an_unknown_parameter_that_says_something_is_refused(value: str) -> None:
    with pytest.raises(Refused, match=r"^docker info: invented="):
        find("GET", "/info", invented=value)


@pytest.mark.parametrize(
    ("method", "path", "name", "value"),
    [
        ("GET", "/containers/json", "all", "1"),
        ("GET", "/containers/json", "limit", "-1"),
        ("GET", "/containers/json", "filters", '{"name":{"a":true}}'),
        ("POST", "/containers/create", "name", "nxf-A_b.1"),
        ("POST", "/containers/create", "platform", "linux/amd64"),
        ("POST", "/containers/c/wait", "condition", "next-exit"),
        ("POST", "/containers/c/wait", "condition", "removed"),
        ("POST", "/containers/c/kill", "signal", "SIGKILL"),
        ("POST", "/containers/c/kill", "signal", "9"),
        ("POST", "/containers/c/stop", "t", "10"),
        ("POST", "/containers/c/resize", "h", "24"),
        ("POST", "/containers/c/rename", "name", "/new"),
        ("POST", "/containers/c/restart", "t", "3"),
        ("GET", "/containers/c/stats", "stream", "0"),
        ("GET", "/containers/c/top", "ps_args", "-ef"),
        ("GET", "/containers/c/top", "ps_args", "aux"),
        ("GET", "/containers/c/top", "ps_args", "-eo pid,user,lstart,args"),
        ("GET", "/events", "since", "1700000000.000000000"),
        ("POST", "/containers/c/attach", "detachKeys", "ctrl-p,ctrl-q"),
        ("GET", "/containers/c/logs", "tail", "all"),
        ("GET", "/containers/c/logs", "since", "1700000000.000000001"),
        ("DELETE", "/containers/c", "force", "1"),
    ],
)
def test_a_value_that_clients_send_is_passed(method: str, path: str, name: str, value: str) -> None:
    assert find(method, path, **{name: value}).query == {name: value}


@pytest.mark.parametrize(
    ("method", "path", "name", "value"),
    [
        ("GET", "/containers/json", "all", "2"),
        ("GET", "/containers/json", "limit", "1e9"),
        ("POST", "/containers/create", "name", "a/b"),
        ("POST", "/containers/create", "name", "../x"),
        ("POST", "/containers/create", "name", "a\n"),
        ("POST", "/containers/create", "name", "a" * 200),
        ("POST", "/containers/c/start", "checkpoint", "evil"),
        ("POST", "/containers/c/start", "checkpoint-dir", "/etc"),
        ("POST", "/containers/c/wait", "condition", "never"),
        ("POST", "/containers/c/kill", "signal", "kill -9"),
        ("POST", "/containers/c/resize", "h", "abc"),
        ("POST", "/containers/c/rename", "name", "../x"),
        ("POST", "/containers/c/rename", "name", "x"),
        ("GET", "/containers/c/top", "ps_args", "-eo args,pid"),
        ("GET", "/containers/c/top", "ps_args", "-eo pid,environ"),
        ("GET", "/containers/c/top", "ps_args", "auxe"),
        ("GET", "/containers/c/top", "ps_args", "-efm"),
        ("GET", "/containers/c/top", "ps_args", "-ef --info"),
        ("GET", "/events", "since", "1h"),
        ("DELETE", "/containers/c", "link", "1"),
        ("GET", "/containers/c/logs", "tail", "-1"),
    ],
)
def test_another_value_is_refused(method: str, path: str, name: str, value: str) -> None:
    with pytest.raises((BadRequest, Refused)):
        find(method, path, **{name: value})


@pytest.mark.parametrize("name", ["reg.example:5000/a/img:1.0", "img:latest", "img@sha256:0", "c" * 129])
def test_an_image_is_looked_for_among_containers_first(name: str) -> None:
    # `docker inspect img:latest` (cwltool's way) goes on to images only after a 404.
    assert find("GET", f"/containers/{name}/json").route.handler == "absent"


def test_every_row_has_a_handler() -> None:
    from slurm_hooks.broker import handlers

    assert {route.handler for route in routes.ROUTES} == set(handlers.HANDLERS)
