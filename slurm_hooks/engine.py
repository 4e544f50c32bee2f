# SPDX-License-Identifier: Apache-2.0
"""Our own use of the jobs' dockerd: for the Epilog, the sweep and `check`.

A handful of requests, by the standard library: the docker SDK would cost each Epilog with containers 0.1 s, the time
of its import. The broker does not use this: what a client sends goes through relay.py.
"""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException
from urllib.parse import quote, urlencode

from slurm_hooks.errors import NodeFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LABEL_JOB, LABEL_NONCE = "slurm-hooks.job", "slurm-hooks.nonce"
REQUEST_SECONDS = 10
PING_SECONDS = 3  # /_ping takes none of dockerd's locks
CONTAINERS = "/containers/json?all=1&"
GONE = (200, 204, 404)  # what a removal is answered with where nothing is left
FAULTS = (OSError, HTTPException, ValueError)  # of one that does not answer as it should
PARALLEL = 8  # dockerd serialises on its own locks beyond that


class Engine:
    """The jobs' dockerd, met within `seconds`. Every method raises NodeFault where it does not answer.

    On a busy node one request may wait for more than ten seconds behind others. That is no reason to give dockerd up:
    it is hung when it does not answer a ping either, and from then on nothing more is asked.
    """

    def __init__(self, socket: str, seconds: int = REQUEST_SECONDS) -> None:
        self.socket = socket
        self._silent = ""  # why nothing more is asked
        self._version = ""  # "/v1.45": the newest that it speaks, by its ping's head
        try:
            self._ping(seconds)
        except FAULTS as error:
            raise self._fault(error) from None

    def _fault(self, error: Exception | str) -> NodeFault:
        said = str(error) or type(error).__name__
        return NodeFault(f"dockerd at {self.socket}", f"does not answer ({said})")

    def _ask(
        self, method: str, path: str, seconds: int = REQUEST_SECONDS, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = _Connection(self.socket, seconds)
        try:
            head = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, f"{self._version}{path}", body, head)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _ping(self, seconds: int) -> None:
        status, head, _ = self._ask("GET", "/_ping", seconds)
        if status != 200:
            raise ValueError(f"{status} to a ping")
        if version := head.get("Api-Version"):
            self._version = f"/v{version}"

    def _value(self, path: str) -> Any:
        status, _, body = self._ask("GET", path, REQUEST_SECONDS)
        if status == 404:
            raise _NotFound(_message(body))
        if status != 200:
            raise ValueError(_message(body) or f"{status} to {path}")
        return json.loads(body)

    def containers(self, key: str) -> list[dict[str, Any]]:
        """A job's containers in any state, as `docker ps` has them: Id, Names, State, …"""
        return self._listed(CONTAINERS, f"{LABEL_JOB}={key}")

    def labelled(self, label: str = LABEL_JOB) -> list[dict[str, Any]]:
        """The containers with a label, as every job's have, in any state."""
        return self._listed(CONTAINERS, label)

    def networks(self, label: str = LABEL_JOB) -> list[dict[str, Any]]:
        """Networks with a label, as `docker network ls` has them: Id, Name, Created, Labels, Options, …"""
        return self._listed("/networks?", label)

    def _listed(self, listing: str, label: str) -> list[dict[str, Any]]:
        if self._silent:
            raise self._fault(self._silent)
        path = f"{listing}{urlencode({'filters': json.dumps({'label': [label]})})}"
        try:
            found: list[dict[str, Any]] = self._value(path)
        except FAULTS as error:
            if self._is_lost(error):
                raise self._fault(error) from None
            try:
                found = self._value(path)
            except FAULTS as again:
                raise self._fault(again) from None
        return found

    def inspect(self, container: str) -> dict[str, Any]:
        """GET /containers/{id}/json."""
        return self._mapping(f"/containers/{container}/json")

    def info(self) -> dict[str, Any]:
        """GET /info."""
        return self._mapping("/info")

    def version(self) -> dict[str, Any]:
        """GET /version."""
        return self._mapping("/version")

    def images(self) -> list[str]:
        """The ids of all images, the newest first."""
        try:
            return [str(one["Id"]) for one in self._value("/images/json")]
        except FAULTS as error:
            raise self._fault(error) from None

    def image(self, name: str) -> dict[str, Any] | None:
        """GET /images/{name}/json; None: there is none of that name."""
        try:
            found: dict[str, Any] = self._value(f"/images/{quote(name)}/json")
        except _NotFound:
            return None
        except FAULTS as error:
            raise self._fault(error) from None
        return found

    def started(self, body: dict[str, Any], name: str) -> int:
        """Make a container of a create body, start it; the pid of its first process, 0 where it has ended already."""
        try:
            status, _, said = self._ask(
                "POST", f"/containers/create?{urlencode({'name': name})}", body=json.dumps(body).encode()
            )
            made = str(json.loads(said).get("Id", ""))
            if status == 201:
                status, _, said = self._ask("POST", f"/containers/{made}/start")
        except FAULTS as error:
            raise self._fault(error) from None
        if status != 204:
            raise NodeFault("docker run", _message(said) or str(status))
        return int(self.inspect(made)["State"]["Pid"])

    def _mapping(self, path: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._value(path)
        except FAULTS as error:
            raise self._fault(error) from None
        return found

    def _is_lost(self, error: Exception) -> bool:
        """Is it more than one request that had no answer in time?"""
        if not isinstance(error, TimeoutError):
            return True
        try:
            self._ping(PING_SECONDS)
        except FAULTS:
            return True
        return False

    def remove(self, ids: list[str]) -> list[str]:
        """Remove containers by force, with their anonymous volumes, in parallel; what went wrong, in words."""
        if len(ids) == 1:
            problems = [self._remove(ids[0])]
        else:
            from concurrent.futures import ThreadPoolExecutor  # as dear as a removal, to import

            with ThreadPoolExecutor(PARALLEL) as pool:
                problems = list(pool.map(self._remove, ids))
        return list(filter(None, problems))

    def remove_network(self, network: str) -> str:
        """Remove a network, of which no container may be left; what went wrong, in words."""
        return self._removed(f"/networks/{quote(network)}", network, GONE)

    def _remove(self, container: str) -> str:
        # 409: dockerd removes it by itself (--rm); the fresh look will tell.
        return self._removed(f"/containers/{quote(container)}?v=1&force=1", container, (*GONE, 409))

    def _removed(self, path: str, what: str, well: tuple[int, ...]) -> str:
        if self._silent:
            return self._silent
        try:
            status, _, body = self._ask("DELETE", path, REQUEST_SECONDS)
        except FAULTS as error:
            problem = f"{what[:12]}: {error}"
            if self._is_lost(error):
                self._silent = problem
            return problem
        return "" if status in well else f"{what[:12]}: {_message(body) or status}"


class _NotFound(ValueError):
    """dockerd has nothing of that name."""


class _Connection(HTTPConnection):
    """Over a unix socket. dockerd answers as root, and root alone may reach its socket: nothing of it is a user's."""

    def __init__(self, path: str, seconds: int) -> None:
        super().__init__("docker", timeout=seconds)
        self._path, self._seconds = path, seconds

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)


def _message(body: bytes) -> str:
    """dockerd's own words for an error."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return ""
