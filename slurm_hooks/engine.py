# SPDX-License-Identifier: Apache-2.0
"""Our own use of the jobs' dockerd, through the docker SDK: for the Epilog and `check`.

The broker does not use it: what a client sends goes through relay.py. The SDK
costs 0.1 s to import, so hooks import this module only for a job that had containers.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import docker.errors
import requests

from slurm_hooks.errors import NodeFault

LABEL_JOB, LABEL_NONCE = "slurm-hooks.job", "slurm-hooks.nonce"
REQUEST_SECONDS = 10
PING_SECONDS = 3  # /_ping takes none of dockerd's locks
FAULTS = (docker.errors.DockerException, requests.RequestException, OSError)  # of one that does not answer as it should
PARALLEL = 8  # dockerd serialises on its own locks beyond that


class Engine:
    """The jobs' dockerd, met within `seconds`. Every method raises NodeFault where it does not answer.

    On a busy node one request may wait for more than ten seconds behind others. That is no reason to give dockerd up:
    it is hung when it does not answer a ping either, and from then on nothing more is asked.
    """

    def __init__(self, socket: str, seconds: int = REQUEST_SECONDS) -> None:
        self.socket = socket
        self._silent = ""  # why nothing more is asked
        try:
            self.api = docker.APIClient(base_url=f"unix://{socket}", version="auto", timeout=seconds)
        except FAULTS as error:
            raise self._fault(error) from None
        self.api.timeout = REQUEST_SECONDS

    def _fault(self, error: Exception | str) -> NodeFault:
        return NodeFault(f"dockerd at {self.socket}", f"does not answer ({error})")

    def containers(self, key: str) -> list[dict[str, Any]]:
        """A job's containers in any state, as `docker ps` has them: Id, Names, State, …"""
        return self._listed(f"{LABEL_JOB}={key}")

    def labelled(self, label: str = LABEL_JOB) -> list[dict[str, Any]]:
        """The containers with a label, as every job's have, in any state."""
        return self._listed(label)

    def _listed(self, label: str) -> list[dict[str, Any]]:
        if self._silent:
            raise self._fault(self._silent)
        filters = {"label": label}
        try:
            found: list[dict[str, Any]] = self.api.containers(all=True, filters=filters)
        except FAULTS as error:
            if self._is_lost(error):
                raise self._fault(error) from None
            try:
                found = self.api.containers(all=True, filters=filters)
            except FAULTS as again:
                raise self._fault(again) from None
        return found

    def inspect(self, container: str) -> dict[str, Any]:
        """GET /containers/{id}/json."""
        try:
            found: dict[str, Any] = self.api.inspect_container(container)
        except FAULTS as error:
            raise self._fault(error) from None
        return found

    def _is_lost(self, error: Exception) -> bool:
        """Is it more than one request that had no answer in time?"""
        if not isinstance(error, requests.Timeout):
            return True
        try:
            docker.APIClient(f"unix://{self.socket}", self.api.api_version, PING_SECONDS).ping()
        except FAULTS:
            return True
        return False

    def remove(self, ids: list[str]) -> list[str]:
        """Remove containers by force, with their anonymous volumes, in parallel; what went wrong, in words."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            return [problem for problem in pool.map(self._remove, ids) if problem]

    def _remove(self, container: str) -> str:
        if self._silent:
            return self._silent
        try:
            self.api.remove_container(container, v=True, force=True)
        except docker.errors.NotFound:
            pass
        except docker.errors.APIError as error:
            if error.status_code != 409:  # 409: dockerd removes it by itself (--rm); the fresh look will tell
                return f"{container[:12]}: {error.explanation or error}"
        except FAULTS as error:
            problem = f"{container[:12]}: {error}"
            if self._is_lost(error):
                self._silent = problem
            return problem
        return ""

    def version(self) -> dict[str, Any]:
        """GET /version."""
        try:
            found: dict[str, Any] = self.api.version()
        except FAULTS as error:
            raise self._fault(error) from None
        return found

    def info(self) -> dict[str, Any]:
        """GET /info."""
        try:
            found: dict[str, Any] = self.api.info()
        except FAULTS as error:
            raise self._fault(error) from None
        return found

    def images(self) -> list[str]:
        """The ids of all images, the newest first."""
        try:
            return [str(one["Id"]) for one in self.api.images()]
        except FAULTS as error:
            raise self._fault(error) from None

    def image(self, name: str) -> dict[str, Any] | None:
        """GET /images/{name}/json; None: there is none of that name."""
        try:
            found: dict[str, Any] = self.api.inspect_image(name)  # type: ignore[no-untyped-call]
        except docker.errors.NotFound:
            return None
        except FAULTS as error:
            raise self._fault(error) from None
        return found

    def started(self, body: dict[str, Any], name: str) -> int:
        """Make a container of a create body, start it; the pid of its first process, 0 where it has ended already."""
        try:
            made = self.api.create_container_from_config(body, name)["Id"]  # type: ignore[no-untyped-call]
            self.api.start(made)
        except docker.errors.APIError as error:
            raise NodeFault("docker run", str(error.explanation or error)) from None
        except FAULTS as error:
            raise self._fault(error) from None
        return int(self.inspect(made)["State"]["Pid"])
