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

LABEL_JOB = "slurm-hooks.job"
PARALLEL = 8  # dockerd serialises on its own locks beyond that


class Engine:
    """The jobs' dockerd. Every method raises NodeFault where it does not answer within `seconds`."""

    def __init__(self, socket: str, seconds: int = 10) -> None:
        self.socket = socket
        try:
            self.api = docker.APIClient(base_url=f"unix://{socket}", version="auto", timeout=seconds)
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise self._fault(error) from None

    def _fault(self, error: Exception) -> NodeFault:
        return NodeFault(f"dockerd at {self.socket}", f"does not answer ({error})")

    def containers(self, key: str) -> list[dict[str, Any]]:
        """A job's containers in any state, as `docker ps` has them: Id, Names, State, …"""
        try:
            found: list[dict[str, Any]] = self.api.containers(all=True, filters={"label": f"{LABEL_JOB}={key}"})
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise self._fault(error) from None
        return found

    def remove(self, ids: list[str]) -> list[str]:
        """Remove containers by force, with their anonymous volumes, in parallel; what went wrong, in words."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            return [problem for problem in pool.map(self._remove, ids) if problem]

    def _remove(self, container: str) -> str:
        try:
            self.api.remove_container(container, v=True, force=True)
        except docker.errors.NotFound:
            pass
        except docker.errors.APIError as error:
            if error.status_code != 409:  # 409: dockerd removes it by itself (--rm); the fresh look will tell
                return f"{container[:12]}: {error.explanation or error}"
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            return f"{container[:12]}: {error}"
        return ""

    def info(self) -> dict[str, Any]:
        """GET /info."""
        try:
            found: dict[str, Any] = self.api.info()
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise self._fault(error) from None
        return found
