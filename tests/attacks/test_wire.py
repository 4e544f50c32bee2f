# SPDX-License-Identifier: Apache-2.0
"""The bytes themselves: framing, paths, queries, upgrades and API versions that two readers could read in two ways."""

from __future__ import annotations

import json

import pytest

from tests.attacks.wire import BROKER, Parts, Said, create, in_a_job, request, script, to_dockerd
from tests.cluster.slurm import Cluster

pytestmark = pytest.mark.anywhere

BODY = json.dumps({"Image": "img", "Cmd": ["true"]})
# What dockerd would answer to a request that slipped through: "CreatedBy".
HISTORY = request("GET", "/images/img/history")
UPGRADE = ("Connection: Upgrade", "Upgrade: tcp")


def chunked(name: str, *headers: str) -> str:
    """A create with a chunked body."""
    lines = (f"POST /containers/create?name={name} HTTP/1.1", "Host: docker", *headers)
    return "\r\n".join(
        (
            *lines,
            "Content-Type: application/json",
            "Transfer-Encoding: chunked",
            "",
            f"{len(BODY):x}",
            BODY,
            "0",
            "",
            "",
        )
    )


HUGE: Parts = [
    "POST /containers/create HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n",
    ["x", 0x200000],
    "\r\n0\r\n\r\n",
]
# What dockerd takes: on the broker's socket each is refused, and the connection is over.
TAKEN: dict[str, Parts] = {
    "a percent in the path": [request("GET", "/containers%2Fjson")],
    "a letter by its number": [request("GET", "/c%6Fntainers/json")],
    "a longer version": [request("GET", "/v1.41.0.0/containers/json")],
    "an absolute target": [request("GET", "http://attack/containers/json")],
    "a query key twice": [request("POST", "/containers/create?name=attack-q1&name=attack-q2", BODY)],
    "lengths of two kinds": [chunked("attack-cl", "Content-Length: 3")],
    "HTTP/1.0": ["GET /containers/json HTTP/1.0\r\nHost: docker\r\n\r\n"],
    "bare line feeds": ["GET /containers/json HTTP/1.1\nHost: docker\n\n"],
    "a folded header": ["GET /containers/json HTTP/1.1\r\nHost: docker\r\nX-A: b\r\n c\r\n\r\n"],
    "a head of 32 KiB": ["GET /containers/json HTTP/1.1\r\nHost: docker\r\nX-A: ", ["a", 32_768], "\r\n\r\n"],
}
REFUSED: dict[str, Parts] = TAKEN | {
    "two slashes": [request("GET", "//containers/json")],
    "a path that climbs": [request("GET", "/containers/../images/json")],
    "a dot": [request("GET", "/containers/./json")],
    "a path as authority": [request("GET", "//attack/containers/json")],
    "a semicolon": [request("GET", "/containers/json;all=1")],
    "two lengths": ["POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}}"],
    "a length with a sign": ["POST /containers/create HTTP/1.1\r\nHost: docker\r\nContent-Length: +2\r\n\r\n{}"],
    "a coding that is not one": [
        "POST /containers/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    ],
    "a body of two megabytes": ["POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 2000000\r\n\r\n{"],
    "chunks of two megabytes": HUGE,
    "HTTP/2 at once": ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"],
    "HTTP/2 by upgrade": [request("GET", "/version", None, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")],
    "a websocket": [request("GET", "/containers/x/attach/ws", None, "Connection: Upgrade", "Upgrade: websocket")],
    "BuildKit's session": [request("POST", "/session", None, "Connection: Upgrade", "Upgrade: h2c")],
    "CONNECT": ["CONNECT docker:80 HTTP/1.1\r\nHost: docker\r\n\r\n"],
    "a control character": ["GET /containers/json HTTP/1.1\r\nHost: docker\r\nX-A: \0\r\n\r\n"],
    "no Host": ["GET /containers/json HTTP/1.1\r\n\r\n"],
    "rubbish": [["\0", 100], "\r\n\r\n"],
    "TLS": ["\x16\x03\x01\x02\r\n\r\n"],
    "API 1.12": [request("GET", "/v1.12/containers/json")],
    "API 1.99": [request("GET", "/v1.99/containers/json")],
}
# A request that fails, and behind it on the same connection one that must not reach dockerd.
SMUGGLED: dict[str, Parts] = {
    "behind a failed exec": [request("POST", "/exec/nope/start", "{}", *UPGRADE) + HISTORY],
    "behind a failed attach": [request("POST", "/containers/nope/attach?stream=1", None, *UPGRADE) + HISTORY],
    "behind a refused create": [create("attack-s", {"Image": "nope"}) + HISTORY],
    "behind a list": [request("GET", "/containers/json") + HISTORY],
}
FORM = ["Content-Type: application/x-www-form-urlencoded"]
FORMS: dict[str, Parts] = {"form": [request("POST", "/containers/attack-form/resize?h=1&w=1", "h=abc", *FORM)]}
OLD: dict[str, Parts] = {
    f"attack-{number}": [request("POST", f"{version}/containers/create?name=attack-{number}", BODY)]
    for number, version in enumerate(("", "/v1.24", "/v1.39", "/v1.44"))
}
CLEAN = "docker ps -aq --filter name=attack- | xargs -r docker rm -f >/dev/null"
SHOWN = """for one in $(docker -H unix:///run/slurm-hooks-docker/docker.sock ps -aq --filter label=slurm-hooks.job); do
docker -H unix:///run/slurm-hooks-docker/docker.sock inspect -f '{{json .HostConfig}}' $one; done"""


@pytest.fixture(scope="module")
def answers(cluster: Cluster) -> dict[str, Said]:
    """All cases, sent from one job to the broker."""
    return in_a_job(cluster, REFUSED | SMUGGLED | FORMS, before="docker create --name attack-form img >/dev/null")


@pytest.fixture(scope="module")
def taken(cluster: Cluster) -> dict[str, Said]:
    """What dockerd itself takes, sent to it by root."""
    docker = "export DOCKER_HOST=unix:///run/slurm-hooks-docker/docker.sock"
    cluster.must(cluster.node, f"{docker}\n{CLEAN}\ndocker create --name attack-form --network none img")
    try:
        return to_dockerd(cluster, TAKEN | SMUGGLED | FORMS)
    finally:
        cluster.sh(cluster.node, f"{docker}\n{CLEAN}")


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_nothing_behind_it_is_read(answers: dict[str, Said], name: str) -> None:
    assert answers[name].statuses in ([400], [403]), answers[name]


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_second_request_is_judged_as_any_other(answers: dict[str, Said], name: str) -> None:
    assert '"CreatedBy"' not in answers[name].text
    assert 200 not in answers[name].statuses[1:] and 101 not in answers[name].statuses, answers[name]


def test_a_form_does_not_beat_the_query(answers: dict[str, Said]) -> None:
    assert "abc" not in answers["form"].text and "not running" in answers["form"].text, answers["form"]


def test_an_old_api_version_changes_nothing(cluster: Cluster, node: str) -> None:
    hold = "touch attack-made; until [ -e attack-seen ]; do sleep 0.1; done; rm -f attack-made attack-seen"
    job = cluster.sbatch(f"{script(BROKER, OLD)}\n{hold}")
    cluster.wait(node, "[ -e /home/ann/attack-made ]", "the containers")
    shown = [json.loads(line) for line in cluster.must(node, SHOWN).splitlines()]
    cluster.must(node, "touch attack-seen", user="ann")
    job.wait()
    assert len(shown) == len(OLD), job.output
    for one in shown:  # our own passwd and group, a file for each container
        assert all(mount["ReadOnly"] for mount in one.pop("Mounts"))
    assert all(one == shown[0] for one in shown[1:])
    assert (shown[0]["IpcMode"], shown[0]["CgroupnsMode"]) == ("private", "private")


@pytest.mark.parametrize("name", TAKEN)
def test_dockerd_itself_takes_it(taken: dict[str, Said], name: str) -> None:
    assert taken[name].status in (200, 201), taken[name]


@pytest.mark.parametrize("name", ["behind a failed exec", "behind a refused create", "behind a list"])
def test_dockerd_itself_serves_what_is_behind(taken: dict[str, Said], name: str) -> None:
    assert '"CreatedBy"' in taken[name].text, taken[name]


def test_dockerd_itself_lets_the_form_win(taken: dict[str, Said]) -> None:
    assert "abc" in taken["form"].text, taken["form"]
