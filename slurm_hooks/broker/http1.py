# SPDX-License-Identifier: Apache-2.0
"""Strictness on top of h11: bytes in, one whole Request out, or BadRequest. Pure.

h11 refuses much; it still takes what has been used against proxies before us:
Content-Length together with Transfer-Encoding, bare LF, folded headers,
absolute-form targets, percent-encoded and doubled slashes. dockerd takes those
too, so they end here. A body is always read whole, within a bound, before
anything is decided.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import h11

from slurm_hooks.errors import BadRequest

MOST_HEAD = 16 * 1024  # bytes of request line and headers
MOST_CHUNKS = 1024  # of a body: a million of one byte would hold the loop for seconds
MOST_BODY = 1024 * 1024  # bytes; a create body of the docker CLI has 3 KiB
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
TARGET = re.compile(r"/[A-Za-z0-9_./:@-]*")
VERSION = re.compile(r"/v([0-9]{1,2})\.([0-9]{1,3})(?=/)")
QUERY_PART = re.compile(r"[A-Za-z0-9_.~%+:/@,{}\[\]\"!*'()-]*")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was read whole."""

    method: str
    version: tuple[int, int] | None  # of the API, from the path; None: the client named none
    path: str  # without the version
    query: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    upgrade: bool = False  # the client asks for `Upgrade: tcp`
    registry_auth: str = field(default="", repr=False)  # X-Registry-Auth as it came: base64, a secret


class Intake:
    """One connection's requests: feed bytes, take requests, send answers' bytes through `answer`."""

    def __init__(self) -> None:
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD)
        self._head = b""  # of the request that is being received, until its end is seen
        self._head_seen = False
        self._line = 0  # where the last line of an unfinished head begins
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._chunks = 0

    def feed(self, data: bytes) -> None:
        """Take bytes from the client. Raises BadRequest."""
        if not self._head_seen:
            known = len(self._head)
            self._head += data
            end = self._head.find(b"\r\n\r\n", max(known - 3, 0))
            if end < 0 and len(self._head) > MOST_HEAD:
                raise BadRequest("request", "the head is longer than 16 KiB")
            # Without its end it is looked at from its last line on: 16 KiB may come byte by byte.
            check_head(self._head[self._line :] if end < 0 else self._head[: end + 4])
            self._head_seen = end >= 0
            self._line = max(self._line, self._head.rfind(b"\r\n", max(known - 1, 0)) + 2)
            if self._head_seen:
                self._head = self._head[: end + 4]
        self.h11.receive_data(data)

    @property
    def pending(self) -> int:
        """Bytes that are kept of the request that is being received, and of what came behind it."""
        behind = len(self.h11.trailing_data[0]) if self._head_seen else 0
        return len(self._head) + len(self._body) + behind

    def next(self) -> Request | None:
        """The next whole request; None while bytes are missing, EOFError at the end. Raises BadRequest."""
        try:
            while True:
                event = self.h11.next_event()
                if event is h11.NEED_DATA:
                    return None
                if isinstance(event, h11.Request):
                    self._request = event
                    check_framing(event)
                elif isinstance(event, h11.Data):
                    self._chunks += event.chunk_start
                    if self._chunks > MOST_CHUNKS:
                        raise BadRequest("request body", "in too many chunks")
                    self._body += event.data
                    if len(self._body) > MOST_BODY:
                        raise BadRequest("request body", "longer than 1 MiB")
                elif isinstance(event, h11.EndOfMessage):
                    assert self._request is not None
                    return parsed(self._request, bytes(self._body))
                elif event is h11.PAUSED:
                    return None
                else:
                    raise EOFError
        except (h11.RemoteProtocolError, ValueError) as error:  # ValueError: h11 0.14, a length of 5000 digits
            raise BadRequest("request", str(error)) from None

    def ready_for_next(self) -> None:
        """After a whole answer: the next request of the same connection, with bytes that came early."""
        self.h11.start_next_cycle()
        self._request, self._body, self._chunks, self._head_seen = None, bytearray(), 0, False
        self._head, self._line = b"", 0
        early, _ = self.h11.trailing_data
        if early:
            # They are in h11's buffer already: look at them as `feed` would have.
            end = early.find(b"\r\n\r\n")
            check_head(early if end < 0 else early[: end + 4])
            self._head, self._head_seen = early if end < 0 else early[: end + 4], end >= 0


def check_head(head: bytes) -> None:
    """The bytes of a head (perhaps not whole): bounded, lines end in CR LF, none is folded. Raises BadRequest."""
    if len(head) > MOST_HEAD:
        raise BadRequest("request", "the head is longer than 16 KiB")
    lines = head.split(b"\r\n")
    if any(b"\n" in line or b"\r" in line for line in lines[:-1]) or b"\n" in lines[-1]:
        raise BadRequest("request", "a line that does not end in CR LF")
    if any(line[:1] in (b" ", b"\t") for line in lines):
        raise BadRequest("request", "a folded header line")
    # Looked for here, since h11 makes one header of two that say the same.
    headers = [line.partition(b":") for line in lines[1:]]
    lengths = [value for name, _, value in headers if name.lower() == b"content-length"]
    if len(lengths) > 1 or any(b"," in value for value in lengths):
        raise BadRequest("request", "Content-Length twice")


def check_framing(request: h11.Request) -> None:
    """How long the body is must be said once, in one way. Raises BadRequest."""
    names = [bytes(name) for name, _ in request.headers]
    if b"content-length" in names and b"transfer-encoding" in names:
        raise BadRequest("request", "Content-Length and Transfer-Encoding together")
    if request.http_version != b"1.1":
        raise BadRequest("request", "only HTTP/1.1 is spoken here")
    length = next((value for name, value in request.headers if name == b"content-length"), b"0")
    if int(length) > MOST_BODY:
        raise BadRequest("request body", "longer than 1 MiB")
    if request.method in (b"GET", b"HEAD") and (int(length) or b"transfer-encoding" in names):
        raise BadRequest("request", "a body with a GET")


def parsed(request: h11.Request, body: bytes) -> Request:
    """h11's event as our Request. Raises BadRequest."""
    method = request.method.decode("ascii")
    if method not in METHODS:
        raise BadRequest("request", f"the method {method[:20]!r}")
    target, _, query = request.target.decode("ascii").partition("?")
    if not TARGET.fullmatch(target) or "//" in target or "/." in target:
        raise BadRequest("request", "not a path that a Docker client sends")
    version = None
    if match := VERSION.match(target):
        version, target = (int(match[1]), int(match[2])), target[match.end() :]
    upgrade = False
    for name, value in request.headers:
        if name == b"upgrade":
            if value.lower() != b"tcp":
                raise BadRequest("request", f"an upgrade to {value.decode('latin-1')[:20]!r}")
            upgrade = True
    secrets = [value.decode("latin-1") for name, value in request.headers if name == b"x-registry-auth"]
    if len(secrets) > 1:
        raise BadRequest("request", "X-Registry-Auth twice")
    return Request(method, version, target, parsed_query(query), body, upgrade, *secrets)


def parsed_query(query: str) -> dict[str, str]:
    """The query's values, decoded, each key once. Raises BadRequest."""
    from urllib.parse import unquote_plus

    found: dict[str, str] = {}
    for part in query.split("&") if query else ():
        key, _, value = part.partition("=")
        try:
            key, value = unquote_plus(key, errors="strict"), unquote_plus(value, errors="strict")
        except UnicodeDecodeError:
            raise BadRequest("request", "a query that is not UTF-8") from None
        if not QUERY_PART.fullmatch(part.replace("=", "")) or not key or key in found:
            raise BadRequest("request", f"the query parameter {key[:40]!r} is given twice or malformed")
        if any(not c.isprintable() for c in key + value):
            raise BadRequest("request", f"the query parameter {key[:40]!r} has control characters")
        found[key] = value
    return found
