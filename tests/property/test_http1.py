# SPDX-License-Identifier: Apache-2.0
"""For any bytes, in any pieces: a Request that is clean, more bytes wanted, BadRequest, or the end."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_hooks.broker import http1, routes
from slurm_hooks.broker.http1 import Intake, Request
from slurm_hooks.errors import BadRequest, HooksError

bounded = settings(max_examples=500, derandomize=True, deadline=None, database=None)

PIECES = [
    b"GET ", b"POST ", b"HEAD ", b"PRI * HTTP/2.0", b"get ", b"/", b"//", b"/_ping", b"/v1.44", b"/containers/json",
    b"/containers/create", b"/..", b"%2F", b"?all=1", b"&all=1", b"?name=a", b" HTTP/1.1", b" HTTP/1.0", b"\r\n",
    b"\r\n\r\n", b"\n", b"\r", b"Host: d", b"Host: d\r\n", b"Content-Length: 2\r\n", b"Content-Length: 99999999999\r\n",
    b"Content-Length: " + b"9" * 5000 + b"\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
    b"Connection: Upgrade\r\n", b"Upgrade: tcp\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n",
    b"X: y\r\n z\r\n",
    b"{}", b"2\r\n{}\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"\x00", b"\xff", b": ",
    b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n", b"POST /x HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}",
]  # fmt: skip
stream = st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=14)


def requests_in(pieces: list[bytes]) -> list[Request]:
    """All requests of a connection, each answered, until it ends. Only BadRequest and EOFError end it."""
    intake = Intake()
    found: list[Request] = []
    with suppress(BadRequest, EOFError):
        for piece in pieces:
            intake.feed(piece)
            while (request := intake.next()) is not None:
                found.append(request)
                intake.h11.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                intake.h11.send(h11.EndOfMessage())
                if intake.h11.their_state is not h11.DONE or intake.h11.our_state is not h11.DONE:
                    return found
                intake.ready_for_next()
    return found


@bounded
@given(pieces=stream)
def test_whatever_comes_out_is_clean(pieces: list[bytes]) -> None:
    for request in requests_in(pieces):
        assert request.method in http1.METHODS
        assert request.path.startswith("/")
        assert "//" not in request.path and "/." not in request.path and "%" not in request.path
        assert len(request.body) <= http1.MOST_BODY
        assert all((key + value).isprintable() for key, value in request.query.items())
        with suppress(HooksError):
            routes.find(request)


@bounded
@given(pieces=stream, cuts=st.lists(st.integers(0, 400), max_size=6))
def test_the_pieces_do_not_matter(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    recut = [data[start:end] for start, end in pairwise(places)]
    assert requests_in(recut) == requests_in([bytes([byte]) for byte in data])


@bounded
@given(data=st.binary(max_size=300))
def test_any_bytes_at_all(data: bytes) -> None:
    requests_in([data])
