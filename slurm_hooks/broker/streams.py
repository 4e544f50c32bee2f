# SPDX-License-Identifier: Apache-2.0
"""An answer of dockerd's that is a stream of JSON values, one a line, each rewritten as it comes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from slurm_hooks.broker.relay import Answer

MOST_LINE = 4 * 1024 * 1024  # bytes; an event bears all labels of its container, which came in a body of 1 MiB


class Rewritten(Answer):
    """The answer whose every line is `each` of dockerd's. Close it, and with it the one that it is made of."""

    def __init__(self, answer: Answer, each: Callable[[Any], Any]) -> None:
        super().__init__(answer.channel, answer.h11)
        self.each = each
        self.status, self.reason = answer.status, answer.reason
        self.headers = [(name, value) for name, value in answer.headers if name != b"content-length"]

    async def body(self) -> AsyncIterator[bytes]:
        rest = b""
        async for part in super().body():
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > MOST_LINE:
                raise ConnectionAbortedError("a line of dockerd's that does not end")
            for line in filter(None, lines):
                yield self._line(line)
        if rest:
            yield self._line(rest)

    def _line(self, line: bytes) -> bytes:
        return json.dumps(self.each(json.loads(line))).encode() + b"\n"
