# SPDX-License-Identifier: Apache-2.0
"""Programs that people run in containers, from Debian's packages, under the filter of system calls (knobs/syscalls.py).

Each does what needs the kernel most: threads, processes, shared memory, sockets, collecting garbage. The image is built
by tests/labs/programs.sh, once; it has 800 MB.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.programs import with_programs
from tests.cluster.slurm import Cluster
from tests.labs.base import Done

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

PYTHON = """python3 - <<'END'
import asyncio, multiprocessing as mp, os, socket, subprocess, threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.shared_memory import SharedMemory
with mp.Pool(2) as pool:
    assert sum(pool.map(abs, range(-10, 1))) == 55
with ThreadPoolExecutor(8) as pool:
    assert len(set(pool.map(lambda _: threading.get_ident(), range(64)))) >= 1
shared = SharedMemory(create=True, size=4096)
shared.buf[0] = 7
shared.unlink()
assert subprocess.run(["sort"], input=b"b\\na\\n", capture_output=True, check=True).stdout == b"a\\nb\\n"
assert socket.getaddrinfo("localhost", 80)
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
server.accept()[0].sendall(b"x")
assert client.recv(1) == b"x"
async def child():
    process = await asyncio.create_subprocess_exec("true")
    return await process.wait()
assert asyncio.run(child()) == 0
os.sched_setaffinity(0, os.sched_getaffinity(0))
print("done")
END"""
R = """Rscript -e 'library(parallel); stopifnot(sum(unlist(mclapply(1:8, function(x) x^2, mc.cores = 2))) == 204)' \
-e 'cluster <- makeCluster(2); stopifnot(sum(unlist(parLapply(cluster, 1:8, sqrt))) > 16); stopCluster(cluster)' \
-e 'stopifnot(dim(solve(matrix(rnorm(250000), 500))) == 500); cat("done\\n")'"""
JAVA = """cat > /tmp/x.bsh <<'END'
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicLong;
pool = Executors.newFixedThreadPool(4);
AtomicLong bytes = new AtomicLong();
work = new Runnable() { run() { for (int i = 0; i < 100; i++) bytes.addAndGet((new byte[1 << 20]).length); } };
for (int i = 0; i < 4; i++) pool.execute(work);
pool.shutdown();
pool.awaitTermination(200, TimeUnit.SECONDS);
System.gc();
new java.net.ServerSocket(0).close();
child = Runtime.getRuntime().exec(new String[] {"true"});
if (child.waitFor() == 0 && bytes.get() == 400L << 20) print("done");
END
for collector in Serial Parallel G1 Z; do
    java -Xmx96m -XX:+Use${collector}GC -cp /usr/share/java/bsh.jar bsh.Interpreter /tmp/x.bsh || exit
done"""
NODE = """node - <<'END'
const { Worker } = require("worker_threads"), { execFileSync } = require("child_process");
const fs = require("fs/promises"), http = require("http"), crypto = require("crypto");
const worker = new Worker("require('worker_threads').parentPort.postMessage(6 * 7)", { eval: true });
const answer = new Promise((resolve) => worker.once("message", resolve));
const served = new Promise((resolve) => {
    const server = http.createServer((_, said) => said.end("x")).listen(0, "127.0.0.1", () =>
        http.get({ port: server.address().port }, (said) => said.on("data", (data) => resolve(`${data}`))));
});
const hashed = new Promise((resolve) => crypto.pbkdf2("a", "b", 1000, 32, "sha256", (_, key) => resolve(key.length)));
(async () => {
    await fs.writeFile("/tmp/x", "y");
    const read = await fs.readFile("/tmp/x"), echoed = execFileSync("echo", ["z"]);
    if (`${[await answer, await served, await hashed, read, echoed]}` === "42,x,32,y,z\\n") console.log("done");
    process.exit();
})();
END"""
RANKS = """cat > /tmp/ranks.py <<'END'
from mpi4py import MPI
world = MPI.COMM_WORLD
other = 1 - world.rank
sent, got = bytearray([world.rank]) * (8 << 20), bytearray(8 << 20)
for _ in range(3):
    world.Sendrecv(sent, other, recvbuf=got, source=other)
assert got == bytearray([other]) * (8 << 20)
if world.allreduce(1) == 2 and world.rank == 0:
    print("done")
END
mpirun </dev/null -np 2 --oversubscribe --bind-to none"""
PROGRAMS = {
    "python": PYTHON,
    "R": R,
    "java": JAVA,
    "node": NODE,
    "Open MPI": f"{RANKS} python3 /tmp/ranks.py",
    "gdb of its own child": "gdb -q -batch -ex 'break exit' -ex run -ex backtrace -ex continue /usr/bin/python3 2>&1",
    "strace of its own child": "strace -fo /tmp/t sh -c '/bin/true|cat'; grep -q execve.*/bin/true /tmp/t && echo done",
}
SAYS = {"gdb of its own child": "exited normally"}
REFUSED = {
    "gdb of another": "sleep 60 & gdb -q -batch -p $! 2>&1",
    "strace of another": "sleep 60 & strace -p $! 2>&1",
}


@pytest.fixture(scope="module")
def said(cluster: Cluster) -> Iterator[dict[str, Done]]:
    """What each program said, in a container of its own, all in one job."""
    with with_programs(cluster, "programs:latest"):
        yield {
            name: cluster.srun(
                f"docker run --rm -i programs bash <<'OUTER'\n{script}\nOUTER", options="--mem=1500", timeout=300
            )
            for name, script in {**PROGRAMS, **REFUSED}.items()
        }


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_works(said: dict[str, Done], name: str) -> None:
    assert said[name].status == 0, said[name]
    assert SAYS.get(name, "done") in said[name].out, said[name]


@pytest.mark.parametrize("name", REFUSED)
def test_a_process_is_not_traced_once_it_runs(said: dict[str, Done], name: str) -> None:
    assert "Operation not permitted" in said[name].out, said[name]
