# SPDX-License-Identifier: Apache-2.0
"""At a terminal: the real docker CLI on a pty inside a job, typed at and looked at."""

from __future__ import annotations

import pytest

from tests.cluster.slurm import Cluster
from tests.labs.base import Done

pytestmark = [pytest.mark.anywhere, pytest.mark.timeout(300)]
# A `Terminal` runs a command on a pty of its own, as a person's terminal would. In each script below.
TERMINAL = r"""
import fcntl, os, pty, re, select, signal, struct, subprocess, sys, termios, time
class Terminal:
    def __init__(self, *argv, rows=24, columns=80):
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if not self.pid:
            while termios.tcgetwinsize(0) != (rows, columns):
                time.sleep(0.01)
            os.execvp(argv[0], argv)
        self.size(rows, columns)
    def size(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    def type(self, text):
        os.write(self.fd, text.encode())
    def read(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: the last one at the other side has left
            data = b""
        self.seen += data.decode(errors="replace").replace("\r", "")
        return bool(data)
    def wait(self, expression, within=20):
        end = time.monotonic() + within
        while not re.search(expression, self.seen):
            if time.monotonic() > end:
                sys.exit(f"{expression!r} did not come: {self.seen!r}")
            self.read(0.2)
    def becomes(self, rows, columns, text, within=20):
        # Resized until it is so: the client asks once, then begins to listen for SIGWINCH, and one between is lost.
        end = time.monotonic() + within
        expression = f"{rows} {columns}"
        while not re.search(expression, self.seen) and time.monotonic() < end:
            self.size(rows, columns - 1)
            self.size(rows, columns)
            self.type(text)
            while self.read(0.2):
                pass
        return bool(re.search(expression, self.seen))
    def status(self):
        while self.read(20):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
RUN = "docker", "run", "--rm", "-it"
def docker(*argv):
    return subprocess.run(["docker", *argv], capture_output=True, text=True).stdout.strip()
def running(name):
    return docker("inspect", "-f", "{{.State.Running}}", name)
"""
SCRIPTS = {
    "a shell": (
        """t = Terminal("docker", "run", "--rm", "-it", "img", rows=33, columns=99)
t.wait(r"[$#] "); t.type("echo $((6*7)); stty size\\n"); t.wait("42\\n33 99")
t.type("exit 3\\n"); print(t.status())""",
        "3\n",
    ),
    "its size follows the terminal's": (
        """t = Terminal(*RUN, "img", "sh", "-c", "echo on; while read x; do stty size; done")
t.wait("on"); print(t.becomes(40, 111, "\\n")); t.type("\\x04"); print(t.status())""",
        "True\n0\n",
    ),
    "ctrl-c": (
        """t = Terminal(*RUN, "img", "sh", "-c", "trap 'echo caught; exit 7' INT; echo on; cat")
t.wait("on"); t.type("x\\n"); t.wait("x\\nx"); t.type("\\x03"); t.wait("caught"); print(t.status())""",
        "7\n",
    ),
    "ctrl-d": (
        """t = Terminal("docker", "run", "--rm", "-it", "img", "cat")
t.type("hello\\n"); t.wait("hello\\nhello"); t.type("\\x04"); print(t.status())""",
        "0\n",
    ),
    "detach, attach again, with keys of one's own": (
        """t = Terminal("docker", "run", "--name", "dd", "-it", "img", "sh", "-c", "echo on; cat")
t.wait("on"); t.type("\\x10\\x11"); print(t.status(), running("dd"))
t = Terminal("docker", "attach", "--detach-keys", "ctrl-a,x", "dd")
t.type("again\\n"); t.wait("again\\nagain"); t.type("\\x01x"); t.status(); print(running("dd"))
print(docker("rm", "-f", "dd"))""",
        "0 true\ntrue\ndd\n",
    ),
    "exec": (
        """docker("run", "-d", "--name", "ee", "img", "sleep", "600")
t = Terminal("docker", "exec", "-it", "ee", "sh", rows=21, columns=66)
t.wait(r"[$#] "); t.type("stty size; id -u\\n"); t.wait("21 66\\n1001")
print(t.becomes(22, 77, "stty size\\n")); t.type("exit 4\\n"); print(t.status(), docker("rm", "-f", "ee"))""",
        "True\n4 ee\n",
    ),
    "exec, ctrl-c": (
        """docker("run", "-d", "--name", "ee", "img", "sleep", "600")
t = Terminal("docker", "exec", "-it", "ee", "sh", "-c", "trap 'echo caught; exit 6' INT; echo on; cat")
t.wait("on"); t.type("x\\n"); t.wait("x\\nx"); t.type("\\x03"); t.wait("caught")
print(t.status(), running("ee"), docker("rm", "-f", "ee"))""",
        "6 true ee\n",
    ),
    "logs -f, left by ctrl-c": (
        """docker("run", "-d", "--name", "ll", "img", "sh", "-c", "echo one; sleep 600")
t = Terminal("docker", "logs", "-f", "ll"); t.wait("one"); t.type("\\x03"); t.status()
print(running("ll"), docker("rm", "-f", "ll"))""",
        "true ll\n",
    ),
    "stats, left by ctrl-c": (
        """docker("run", "-d", "--name", "ss", "img", "sleep", "600")
t = Terminal("docker", "stats"); t.wait("ss "); t.type("\\x03"); t.status()
print(running("ss"), docker("rm", "-f", "ss"))""",
        "true ss\n",
    ),
}
# A container that waits for a signal, in the background.
TRAP = """docker run --rm img sh -c 'trap "echo caught; exit {1}" {0}; echo on; while :; do sleep 0.1; done' > out &
for try in $(seq 200); do grep -q on out && break; sleep 0.1; done;"""
PIPES = {
    "a half-closed stdin": ("echo x | docker run --rm -i img sh -c 'cat; echo end'", "x\nend\n"),
    "a half-closed stdin, much of it": ("seq 300000 | docker run --rm -i img md5sum; seq 300000 | md5sum", "-\n"),
    "a half-closed stdin of exec": (
        "docker run -d --name h0 img sleep 600 >/dev/null;"
        "echo x | docker exec -i h0 sh -c 'cat; echo end'; docker rm -f h0",
        "x\nend\nh0\n",
    ),
    "stdin into a started one": (
        "docker create -i --name h1 img sh -c 'cat; echo end' >/dev/null; echo x | docker start -ai h1; docker rm h1",
        "x\nend\nh1\n",
    ),
    "two streams apart": ("docker run --rm img sh -c 'echo out; echo err >&2' 2>/dev/null", "out\n"),
    "SIGTERM is passed on": (
        f"{TRAP.format('TERM', 9)} kill -TERM $!; wait $!; echo exit $?; cat out; rm out",
        "exit 9\non\ncaught\n",
    ),
    "SIGUSR1 is passed on": (
        f"{TRAP.format('USR1', 8)} kill -USR1 $!; wait $!; echo exit $?; cat out; rm out",
        "exit 8\non\ncaught\n",
    ),
    "no signal with --sig-proxy=false": (
        """docker run -d --name t2 img sleep 600 >/dev/null; docker attach --no-stdin --sig-proxy=false t2 & sleep 1
        kill -TERM $!; wait $!; docker inspect -f '{{.State.Running}}' t2; docker rm -f t2""",
        "true\nt2\n",
    ),
    "logs -f until the end": (
        "docker run -d --name l1 img sh -c 'for i in 1 2 3; do echo $i; sleep 0.3; done' >/dev/null;"
        "docker logs -f l1; docker rm l1",
        "1\n2\n3\nl1\n",
    ),
    "logs, since and tail": (
        "docker run --name l2 img sh -c 'seq 5' >/dev/null; docker logs --tail 2 --since 1h l2; docker rm l2",
        "4\n5\nl2\n",
    ),
    "attach until the end": (
        "docker run -d --name a2 img sh -c 'sleep 2; echo late; exit 5' >/dev/null;"
        "docker attach --no-stdin a2; echo $?; docker rm a2",
        "late\n5\na2\n",
    ),
    "wait for two": (
        "docker run -d --name w1 img sh -c 'exit 1' >/dev/null; docker run -d --name w2 img sh -c 'exit 2' >/dev/null;"
        "docker wait w1 w2; docker rm w1 w2",
        "1\n2\nw1\nw2\n",
    ),
}


def python(script: str) -> str:
    """Shell that runs a script with `Terminal` at hand."""
    return f"/usr/bin/python3 -I - <<'END' 2>&1\n{TERMINAL}\n{script}\nEND"


@pytest.fixture(scope="module")
def said(cluster: Cluster) -> dict[str, Done]:
    """All of it, in one job."""
    scripts = {name: python(script) for name, (script, _) in SCRIPTS.items()}
    return cluster.srun_each(scripts | {name: script for name, (script, _) in PIPES.items()})


@pytest.mark.parametrize("name", SCRIPTS)
def test_at_a_terminal(said: dict[str, Done], name: str) -> None:
    assert said[name].out == SCRIPTS[name][1], said[name]


@pytest.mark.parametrize("name", PIPES)
def test_in_a_pipe(said: dict[str, Done], name: str) -> None:
    assert said[name].out.endswith(PIPES[name][1]), said[name]
    if "much" in name:
        assert len(set(said[name].out.splitlines())) == 1, said[name]
