# SPDX-License-Identifier: Apache-2.0
"""Which bytes are a request here: what the docker CLI sends, and nothing that two readers could take differently.

What h11 itself lets through is in house-style.md, B3; what has been used against proxies of dockerd in
docker-api-policy.md, C5.
"""

from __future__ import annotations

import h11
import pytest

from slurm_hooks.broker import http1
from slurm_hooks.broker.http1 import Intake, Request
from slurm_hooks.errors import BadRequest

PING = b"HEAD /_ping HTTP/1.1\r\nHost: api.moby.localhost\r\nUser-Agent: Docker-Client/28.2.2 (linux)\r\n\r\n"
CREATE = (
    b"POST /v1.44/containers/create?name=mine HTTP/1.1\r\nHost: api.moby.localhost\r\n"
    b'Content-Length: 15\r\nContent-Type: application/json\r\n\r\n{"Image":"img"}'
)
CHUNKED = (
    b"POST /v1.44/containers/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'7\r\n{"Image\r\n8;x=y\r\n":"img"}\r\n0\r\n\r\n'
)
ATTACH = (
    b"POST /v1.44/containers/c/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n"
    b"Upgrade: tcp\r\nContent-Length: 0\r\n\r\n"
)
WHOLE = {
    "ping": (PING, Request("HEAD", None, "/_ping")),
    "create": (CREATE, Request("POST", (1, 44), "/containers/create", {"name": "mine"}, b'{"Image":"img"}')),
    "chunked": (CHUNKED, Request("POST", (1, 44), "/containers/create", {}, b'{"Image":"img"}')),
    "attach": (
        ATTACH,
        Request("POST", (1, 44), "/containers/c/attach", {"stream": "1", "stdout": "1"}, upgrade=True),
    ),
}


def head(target: bytes = b"/_ping", method: bytes = b"GET", version: bytes = b"HTTP/1.1", *more: bytes) -> bytes:
    """A request's bytes, with header lines added."""
    return b"\r\n".join([b" ".join([method, target, version]), b"Host: d", *more, b"", b""])


def taken(data: bytes) -> Request | None:
    """The request in the bytes of a new connection; None where more are needed. Raises BadRequest."""
    intake = Intake()
    intake.feed(data)
    return intake.next()


def answer(intake: Intake) -> None:
    """Answer the request at hand with an empty 200, and get ready for the next."""
    intake.h11.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
    intake.h11.send(h11.EndOfMessage())
    intake.ready_for_next()


# -- what is taken ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "expected"), WHOLE.values(), ids=WHOLE)
def test_a_request_of_the_docker_cli_is_taken(data: bytes, expected: Request) -> None:
    assert taken(data) == expected


@pytest.mark.parametrize(("data", "expected"), WHOLE.values(), ids=WHOLE)
def test_a_request_is_the_same_wherever_it_is_cut(data: bytes, expected: Request) -> None:
    for cut in range(1, len(data)):
        intake = Intake()
        intake.feed(data[:cut])
        assert intake.next() is None
        intake.feed(data[cut:])
        assert intake.next() == expected


@pytest.mark.parametrize(("data", "expected"), WHOLE.values(), ids=WHOLE)
def test_a_request_is_the_same_byte_by_byte(data: bytes, expected: Request) -> None:
    intake = Intake()
    for byte in data[:-1]:
        intake.feed(bytes([byte]))
        assert intake.next() is None
    intake.feed(data[-1:])
    assert intake.next() == expected


@pytest.mark.parametrize(
    ("target", "version", "path"),
    [
        (b"/_ping", None, "/_ping"),
        (b"/v1.44/_ping", (1, 44), "/_ping"),
        (b"/v1.12/info", (1, 12), "/info"),
        (b"/v1.44", None, "/v1.44"),
        (b"/v1.41.0.0/info", None, "/v1.41.0.0/info"),
        (b"/v1.44/v1.44/info", (1, 44), "/v1.44/info"),
        (b"/images/reg.example/a/b:1@sha256:0/json", None, "/images/reg.example/a/b:1@sha256:0/json"),
    ],
)
def test_the_api_version_is_taken_off_the_path_once(target: bytes, version: tuple[int, int] | None, path: str) -> None:
    request = taken(head(target))
    assert request is not None
    assert (request.version, request.path) == (version, path)


def test_a_query_is_decoded() -> None:
    request = taken(head(b"/containers/json?all=1&filters=%7B%22name%22%3A%7B%22a+b%22%3Atrue%7D%7D&size="))
    assert request is not None
    assert request.query == {"all": "1", "filters": '{"name":{"a b":true}}', "size": ""}


def test_a_body_up_to_a_mebibyte_is_taken() -> None:
    body = b"x" * http1.MOST_BODY
    request = taken(head(b"/x", b"POST", b"HTTP/1.1", b"Content-Length: %d" % len(body)) + body)
    assert request is not None and request.body == body


def test_many_small_chunks_are_one_body() -> None:
    data = head(b"/x", b"POST", b"HTTP/1.1", b"Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n"
    request = taken(data)
    assert request is not None and request.body == b"x" * 1000


# -- what is not -----------------------------------------------------------------------------------

BODY = b"Content-Length: 2"
REFUSED = {
    # framing
    "Content-Length and Transfer-Encoding": head(b"/x", b"POST", b"HTTP/1.1", BODY, b"Transfer-Encoding: chunked"),
    "a body in thousands of chunks": head(b"/x", b"POST", b"HTTP/1.1", b"Transfer-Encoding: chunked")
    + b"1\r\nx\r\n" * 1025,
    "two equal Content-Lengths": head(b"/x", b"POST", b"HTTP/1.1", BODY, BODY) + b"{}",
    "two Content-Lengths in one": head(b"/x", b"POST", b"HTTP/1.1", b"Content-Length: 2, 2") + b"{}",
    "conflicting Content-Lengths": head(b"/x", b"POST", b"HTTP/1.1", BODY, b"Content-Length: 3"),
    "negative Content-Length": head(b"/x", b"POST", b"HTTP/1.1", b"Content-Length: -1"),
    "signed Content-Length": head(b"/x", b"POST", b"HTTP/1.1", b"Content-Length: +2") + b"{}",
    "huge Content-Length": head(b"/x", b"POST", b"HTTP/1.1", b"Content-Length: " + b"9" * 5000),
    "two Transfer-Encodings": head(b"/x", b"POST", b"HTTP/1.1", *[b"Transfer-Encoding: chunked"] * 2),
    "another Transfer-Encoding": head(b"/x", b"POST", b"HTTP/1.1", b"Transfer-Encoding: xchunked"),
    "gzip before chunked": head(b"/x", b"POST", b"HTTP/1.1", b"Transfer-Encoding: gzip, chunked"),
    "a body with a GET": head(b"/x", b"GET", b"HTTP/1.1", BODY) + b"{}",
    "a chunked body with a GET": head(b"/x", b"GET", b"HTTP/1.1", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "bad chunk size": head(b"/x", b"POST", b"HTTP/1.1", b"Transfer-Encoding: chunked") + b"0x2\r\n{}\r\n",
    "bad chunk end": head(b"/x", b"POST", b"HTTP/1.1", b"Transfer-Encoding: chunked") + b"2\r\n{}xx0\r\n\r\n",
    "longer than said": head(b"/x", b"POST", b"HTTP/1.1", b"Content-Length: %d" % (http1.MOST_BODY + 1)),
    "longer than a mebibyte in chunks": head(b"/x", b"POST", b"HTTP/1.1", b"Transfer-Encoding: chunked")
    + b"%x\r\n" % (http1.MOST_BODY + 1)
    + b"x" * (http1.MOST_BODY + 1),
    # lines
    "bare LF after the request line": b"GET /_ping HTTP/1.1\nHost: d\r\n\r\n",
    "bare LF after a header": b"GET /_ping HTTP/1.1\r\nHost: d\nX: y\r\n\r\n",
    "bare LF at the end": b"GET /_ping HTTP/1.1\r\nHost: d\r\n\n",
    "LF only": b"GET /_ping HTTP/1.1\nHost: d\n\n",
    "bare CR": b"GET /_ping HTTP/1.1\r\nHost: d\rX: y\r\n\r\n",
    "folded header": b"GET /_ping HTTP/1.1\r\nHost: d\r\nX: a\r\n b\r\n\r\n",
    "folded by a tab": b"GET /_ping HTTP/1.1\r\nHost: d\r\nX: a\r\n\tb\r\n\r\n",
    "empty line first": b"\r\n" + PING,
    "two empty lines first": b"\r\n\r\n" + PING,
    "space first": b" " + PING,
    "space before colon": head(b"/_ping", b"GET", b"HTTP/1.1", b"X : y"),
    "NUL in a header": head(b"/_ping", b"GET", b"HTTP/1.1", b"X: a\0b"),
    "no colon": head(b"/_ping", b"GET", b"HTTP/1.1", b"X"),
    "no Host": b"GET /_ping HTTP/1.1\r\n\r\n",
    "two Hosts": head(b"/_ping", b"GET", b"HTTP/1.1", b"Host: e"),
    # the request line
    "HTTP/1.0": head(version=b"HTTP/1.0"),
    "HTTP/0.9": b"GET /_ping\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": head(version=b"HTTP/1.2"),
    "lower-case method": head(method=b"get"),
    "mixed-case method": head(method=b"Get"),
    "CONNECT": head(method=b"CONNECT"),
    "PATCH": head(method=b"PATCH"),
    "OPTIONS *": head(b"*", b"OPTIONS"),
    "absolute form": head(b"http://d/_ping"),
    "absolute form of a socket": head(b"unix:///_ping"),
    "authority form": head(b"d:80"),
    "doubled slash": head(b"//_ping"),
    "doubled slash inside": head(b"/containers//json"),
    "two dots": head(b"/containers/../info"),
    "one dot": head(b"/./info"),
    "hidden": head(b"/images/.git/json"),
    "encoded slash": head(b"/containers%2Fjson"),
    "encoded letter": head(b"/c%6Fntainers/json"),
    "encoded dots": head(b"/%2e%2e/info"),
    "backslash": head(b"/containers\\json"),
    "semicolon": head(b"/info;x"),
    "fragment": head(b"/info#x"),
    "beyond ASCII": head("/infö".encode()),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    # the query
    "a key twice": head(b"/x?all=1&all=0"),
    "a key twice, encoded": head(b"/x?all=1&%61ll=0"),
    "an empty key": head(b"/x?=1"),
    "an empty part": head(b"/x?a=1&&b=1"),
    "a second question mark": head(b"/x?a=1?b"),
    "a NUL": head(b"/x?name=%00"),
    "a newline": head(b"/x?name=a%0Ab"),
    "not UTF-8": head(b"/x?name=%ff"),
    "a semicolon": head(b"/x?a=1;b=2"),
    # upgrades
    "h2c": head(b"/x", b"POST", b"HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c"),
    "websocket": head(b"/x", b"GET", b"HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket"),
    "tcp and h2c": head(b"/x", b"POST", b"HTTP/1.1", b"Connection: Upgrade", b"Upgrade: tcp, h2c"),
    "tcp, then h2c": head(b"/x", b"POST", b"HTTP/1.1", b"Connection: Upgrade", b"Upgrade: tcp", b"Upgrade: h2c"),
    # size
    "a long target": head(b"/" + b"x" * http1.MOST_HEAD),
    "a long header": head(b"/x", b"GET", b"HTTP/1.1", b"X: " + b"y" * http1.MOST_HEAD),
    "many headers": head(b"/x", b"GET", b"HTTP/1.1", *[b"X: y"] * 4000),
    "a head without end": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 4000,
}  # fmt: skip


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_it_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(BadRequest):
        taken(data)


@pytest.mark.parametrize("data", [data for data in REFUSED.values() if len(data) < 1000],
                         ids=[name for name, data in REFUSED.items() if len(data) < 1000])  # fmt: skip
def test_it_is_refused_byte_by_byte(data: bytes) -> None:
    intake = Intake()
    with pytest.raises(BadRequest):
        for byte in data:
            intake.feed(bytes([byte]))
            intake.next()


# -- one connection, many requests -----------------------------------------------------------------


def test_a_connection_serves_one_request_after_another() -> None:
    intake = Intake()
    for data, expected in (WHOLE["ping"], WHOLE["create"], WHOLE["chunked"], WHOLE["ping"]):
        intake.feed(data)
        assert intake.next() == expected
        answer(intake)
    assert intake.next() is None


def test_bytes_that_come_early_are_the_next_request() -> None:
    intake = Intake()
    intake.feed(PING + CREATE + PING)
    for expected in (WHOLE["ping"][1], WHOLE["create"][1], WHOLE["ping"][1]):
        assert intake.next() == expected
        assert intake.next() is None  # paused until that one is answered
        answer(intake)
    assert intake.next() is None


def test_a_request_that_comes_early_in_part_is_completed_later() -> None:
    for cut in range(len(CREATE)):
        intake = Intake()
        intake.feed(PING + CREATE[:cut])
        assert intake.next() == WHOLE["ping"][1]
        answer(intake)
        assert intake.next() is None
        intake.feed(CREATE[cut:])
        assert intake.next() == WHOLE["create"][1]


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_comes_early_is_looked_at_as_closely(data: bytes) -> None:
    intake = Intake()
    intake.feed(PING + data)
    assert intake.next() == WHOLE["ping"][1]
    with pytest.raises(BadRequest):
        answer(intake)
        intake.next()


def test_the_end_of_a_connection_is_told() -> None:
    intake = Intake()
    intake.feed(head(b"/_ping", b"GET", b"HTTP/1.1", b"Connection: close"))
    assert intake.next() is not None
    intake.h11.receive_data(b"")
    intake.h11.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
    intake.h11.send(h11.EndOfMessage())
    with pytest.raises(EOFError):
        intake.next()
