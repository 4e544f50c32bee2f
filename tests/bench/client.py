# SPDX-License-Identifier: Apache-2.0
"""Runs in a step of a job, with nothing but the standard library: a client's view of a docker socket.

    client.py stream ROUNDS BYTES ARGV-OF-OURS ARGV-OF-DIRECT    seconds from the first byte to the last, each round
    client.py ps ROUNDS CLIENTS OURS DIRECT FILTERS              seconds of the slowest hundredth, each round

ARGV is a JSON list, OURS and DIRECT are sockets. Output: {"ours": [seconds, …], "direct": [seconds, …]}; the two are
taken in turns.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.parse

REQUESTS = 6  # of each client, one after the other on a connection of its own


def stream(argv: list[str], number: int) -> float:
    """Read all that a command prints; the seconds from the first byte to the last."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        read = len(process.stdout.read(1))
        began = time.perf_counter()
        while data := process.stdout.read(1 << 20):
            read += len(data)
        seconds = time.perf_counter() - began
    if read != number or process.returncode != 0:
        sys.exit(f"{argv}: exit {process.returncode} after {read} of {number} bytes")
    return seconds


async def asked(path: str, request: bytes) -> list[float]:
    """The seconds of some requests on one connection."""
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 22)
    found = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(head.decode())
        if b"chunked" in head.lower():
            while (size := int(await reader.readline(), 16)) > 0:
                await reader.readexactly(size + 2)
            await reader.readline()
        else:
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            await reader.readexactly(int(fields[b"content-length"]))
        found.append(time.perf_counter() - began)
    writer.close()
    return found


async def slowest_hundredth(path: str, clients: int, filters: str) -> float:
    """The 99th percentile of a round, in seconds."""
    target = "/v1.41/containers/json?" + urllib.parse.urlencode({"filters": filters})
    request = f"GET {target} HTTP/1.1\r\nHost: docker\r\n\r\n".encode()
    each = await asyncio.gather(*(asked(path, request) for _ in range(clients)))
    times = sorted(seconds for one in each for seconds in one)
    return times[int(len(times) * 0.99)]


def main() -> None:
    """See above."""
    kind, rounds, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sides = dict(zip(("ours", "direct"), sys.argv[4:6], strict=True))
    found: dict[str, list[float]] = {"ours": [], "direct": []}
    for turn in range(rounds):
        for side in sorted(sides, reverse=bool(turn % 2)):
            if kind == "stream":
                found[side].append(stream(json.loads(sides[side]), number))
            else:
                found[side].append(asyncio.run(slowest_hundredth(sides[side], number, sys.argv[6])))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
