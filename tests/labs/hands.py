# SPDX-License-Identifier: Apache-2.0
"""Commands in a host through one agent that stays there: a process of Docker's for each costs a tenth of a second."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count

from tests.labs.base import Done


class Hands:
    """An agent (agent.py) in a host, and who waits for its answers. It ends with us."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        self._agent = subprocess.Popen(argv, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._numbers = count()
        self._waiting: dict[int, Future[Done]] = {}
        self._writing = threading.Lock()
        self.alive = True  # is it worth to ask it? No: its host, or it, has ended
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, script: str, user: str, timeout: float, stdin: str) -> Done:
        """Status 124: it was not done in time, and its process group was killed; 125: the agent died."""
        answer: Future[Done] = Future()
        with self._writing, suppress(BrokenPipeError):
            number = next(self._numbers)
            self._waiting[number] = answer
            asked = {"number": number, "script": script, "user": user, "timeout": timeout, "stdin": stdin}
            assert self._agent.stdin is not None
            self._agent.stdin.write(json.dumps(asked).encode() + b"\n")
            self._agent.stdin.flush()
        if not self.alive:
            self._give_up()
        return answer.result(timeout + 30)

    def _listen(self) -> None:
        assert self._agent.stdout is not None
        for line in self._agent.stdout:
            done = json.loads(line)
            self._waiting.pop(done.pop("number")).set_result(Done(**done))
        self.alive = False
        self._agent.wait()
        self._give_up()

    def _give_up(self) -> None:
        with self._writing:
            for answer in self._waiting.values():
                answer.set_result(Done(125, "", "lab: the agent in the host has ended\n"))
            self._waiting.clear()
