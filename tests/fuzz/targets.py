# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed, and what must hold for whatever bytes: the property tests' own statements, driven by coverage.

A target takes bytes and returns; anything but our own refusals that leaves it is a finding.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from slurm_hooks.broker import http1, model, routes
from slurm_hooks.broker.http1 import Request
from slurm_hooks.errors import HooksError
from tests.property.test_http1 import requests_in
from tests.property.test_policy import check_bytes
from tests.unit.policy import GOLDEN, cli


def stream(data: bytes) -> None:
    """A connection's bytes. The first byte says where they are cut: the requests must be the same in one piece."""
    cut, data = data[:1], data[1:]
    if not data:
        return
    whole = requests_in([data])
    assert whole == requests_in([piece for piece in (data[: cut[0]], data[cut[0] :]) if piece])  # nothing is the end
    for request in whole:
        assert request.method in http1.METHODS and request.path.startswith("/")
        assert not any(trick in request.path for trick in ("//", "/.", "%"))
        assert len(request.body) <= http1.MOST_BODY
        assert all((key + value).isprintable() for key, value in request.query.items())
        with suppress(HooksError):
            found = routes.find(request)
            assert set(found.query) <= set(found.route.query)


def create(data: bytes) -> None:
    """The body of a create: refused, or a request that obeys the policy as Go reads it."""
    check_bytes(data)


def wishes(data: bytes) -> None:
    """A create body of the docker CLI with wishes: each pair of bytes says which field, and which value of its."""
    body = cli()
    for field, value in zip(data[::2], data[1::2], strict=False):
        name = FIELDS[field % len(FIELDS)]
        inner = name.removeprefix("HostConfig.")
        (body if inner == name else body["HostConfig"])[inner] = VALUES[value % len(VALUES)]
    check_bytes(json.dumps(body).encode())


FIELDS = [name for name in model.Create.__struct_encode_fields__ if name != "HostConfig"]
FIELDS += [f"HostConfig.{name}" for name in model.HostConfig.__struct_encode_fields__]
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 64, 1024, 4096, 2**31, 2**62, 2**63, 0.5, "", "host", "none", "private", "default",
    "container:x", "shareable", "0", "1001", "1001:1002", "root", "img", "/", "/proc/1/root", "/data", "Z",
    "unconfined",
    [], [""], ["ALL"], ["SYS_ADMIN"], ["0"], ["2000"], [0, 0], [80, 24], ["/a:/b"], ["/a:/b:ro"], ["/a:/b:rw,Z"],
    ["/a:/b:shared"], ["vol:/b"], ["/a:/b", "/a:/b/c"], ["/a:/proc"], ["seccomp=unconfined"], ["apparmor=unconfined"],
    ["no-new-privileges"], ["no-new-privileges=false"], ["label:disable"], ["systempaths=unconfined"], ["A=b"], ["=b"],
    {}, {"a": "b"}, {"slurm-hooks.job": "1"}, {"/t": "size=1m"}, {"/t": "suid,dev,exec"}, {"/t": ""}, {"/proc": ""},
    {"Name": "always", "MaximumRetryCount": 0}, {"Name": "no", "MaximumRetryCount": 0}, {"Test": ["CMD", "x"]},
    {"Type": "syslog", "Config": {}}, {"Type": "none", "Config": {}}, {"Type": "json-file", "Config": {"tag": "x"}},
    {"EndpointsConfig": {"default": {}}}, {"EndpointsConfig": {"other": {}}}, {"EndpointsConfig": None},
    [{"Type": "bind", "Source": "/a", "Target": "/b"}], [{"Type": "tmpfs", "Target": "/t"}],
    [{"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"Propagation": "rshared"}}],
    [{"Type": "volume", "Source": "v", "Target": "/b"}], [{"Type": "image", "Source": "img", "Target": "/b"}],
    [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True}], [{"Name": "nofile", "Soft": 1, "Hard": 1}],
    [{"Type": "bind", "Source": "/a", "Target": "/dev/../proc"}], [{"PathOnHost": "/dev/sda", "PathInContainer": "/s"}],
    [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}], [{}], [None], {"80/tcp": {}},
    {"80/tcp": [{"HostPort": "1"}]},
]  # fmt: skip


def bodies(data: bytes) -> None:
    """The other bodies that a client sends: decoded as their closed model, or refused."""
    for into in (model.ExecCreate, model.ExecStart):
        with suppress(HooksError):
            model.decode(data, into)


def paths(data: bytes) -> None:
    """A request line's words, without HTTP around them: method, path, query."""
    method, _, rest = data.decode("utf-8", "replace").partition(" ")
    path, _, query = rest.partition("?")
    with suppress(HooksError):
        found = routes.find(Request(method, None, path, http1.parsed_query(query)))
        assert found.route.method == method
        assert "/" not in found.name or "{image}" in found.route.template


TARGETS: dict[str, Callable[[bytes], None]] = {
    "stream": stream,
    "create": create,
    "wishes": wishes,
    "bodies": bodies,
    "paths": paths,
}


def seeds(name: str) -> list[bytes]:
    """What the search begins with, beside the kept corpus."""
    requests = [
        f"{route.method} {route.template.format(id='abc', image='img')}"
        + ("?" + "&".join(f"{key}=1" for key in route.query) if route.query else "")
        for route in routes.ROUTES
    ]
    match name:
        case "stream":
            return [b"\x05" + f"{line} HTTP/1.1\r\nHost: d\r\n\r\n".encode() for line in requests]
        case "create":
            return [path.read_bytes() for path in GOLDEN.glob("cli-*.json")] + [str(cli()).encode()]
        case "wishes":
            return [bytes([field, value]) for field in range(len(FIELDS)) for value in (0, 14, 43)]
        case "bodies":
            return [b'{"Cmd":["id"],"Tty":true,"ConsoleSize":[1,2],"User":"1"}', b'{"Detach":false}']
    return [line.encode() for line in requests]


def words() -> list[bytes]:
    """What a search should know of: the names of fields, and what proxies before us were broken with."""
    names = {
        *model.Create.__struct_encode_fields__, *model.HostConfig.__struct_encode_fields__,
        *model.ExecCreate.__struct_encode_fields__, "Type", "Source", "Target", "BindOptions", "bind", "tmpfs",
    }  # fmt: skip
    tricks = (
        "Ho\u017ftConfig", "\\u0000", "Transfer-Encoding: chunked\r\n", "Content-Length: 2\r\n", "Upgrade: tcp\r\n",
        "Upgrade: h2c\r\n", "Expect: 100-continue\r\n", "\r\n\r\n", " HTTP/1.1\r\n", "PRI * HTTP/2.0", "/v1.44/", "%2F",
        "seccomp=unconfined", "container:x", "host", "unconfined",
    )  # fmt: skip
    return [word.encode() for word in (*sorted(names), *tricks)]
