# SPDX-License-Identifier: Apache-2.0
"""An answer of dockerd's that is a stream of JSON values, one a line, each rewritten as it comes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

from slurm_hooks.broker.relay import Answer


class Rewritten(Answer):
    """The answer whose every line is `each` of dockerd's. Close it, and with it the one that it is made of."""

    def __init__(self, answer: Answer, each: Callable[[Any], Any]) -> None:
        super().__init__(answer.channel, answer.h11)
        self._answer, self._each = answer, each
        self.status, self.reason = answer.status, answer.reason
        self.headers = [(name, value) for name, value in answer.headers if name != b"content-length"]

    async def body(self) -> AsyncGenerator[bytes, None]:
        async for line in self._answer.lines():
            yield json.dumps(self._each(json.loads(line))).encode() + b"\n"
