# SPDX-License-Identifier: Apache-2.0
"""The users' own sockets: there while a user has a job here, his alone, and anew with each broker."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from slurm_hooks import jobs
from slurm_hooks.broker import sockets as sockets_module
from slurm_hooks.broker.door import Door
from slurm_hooks.broker.peers import Registry
from slurm_hooks.broker.sockets import Sockets
from tests.unit.test_jobs import job_of

US = os.getuid()  # chown(2) to another would need root
Story = Callable[[Sockets, Door], Coroutine[Any, Any, Any]]


def record(job_id: int, uid: int = US) -> jobs.Job:
    """A Prolog has run."""
    job = job_of(SLURM_JOB_ID=str(job_id), SLURM_JOB_UID=str(uid))
    jobs.create(job)
    return job


def told(run: Path, story: Story) -> Any:
    """Run a story with a broker's sockets."""

    async def within() -> Any:
        door = Door(lambda uid: True, lambda connection, uid: connection.close())
        try:
            async with asyncio.timeout(10):
                return await story(Sockets(door, Registry(str(run)), str(run)), door)
        finally:
            door.close()

    return asyncio.run(within())


def names(run: Path) -> list[str]:
    return sorted(os.listdir(run / "users")) if (run / "users").exists() else []


def is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(path)
        except OSError:
            return False
        return True


def test_a_user_has_one_from_his_first_job_to_his_last(run: Path) -> None:
    async def story(sockets: Sockets, door: Door) -> list[list[str]]:
        seen = []
        for step in (lambda: None, lambda: record(1), lambda: record(2), lambda: bury(1), lambda: bury(2)):
            step()
            assert sockets.renew()
            seen.append(names(run))
        return seen

    def bury(job_id: int) -> None:
        jobs.bury(record(job_id))

    mine = [f"{US}.sock"]
    assert told(run, story) == [[], mine, mine, mine, []]


def test_the_mark_of_his_containers_goes_with_it(run: Path) -> None:
    async def story(sockets: Sockets, door: Door) -> list[list[str]]:
        job = record(1)
        sockets.renew()
        sockets_module.mark(US, str(run))
        sockets.sweep()
        seen = [names(run)]
        jobs.bury(job)
        sockets.renew()
        return [*seen, names(run)]

    assert told(run, story) == [[f"{US}.ran", f"{US}.sock"], []]


def test_it_is_his_alone(run: Path) -> None:
    async def story(sockets: Sockets, door: Door) -> os.stat_result:
        record(1)
        sockets.renew()
        return os.stat(sockets.path(US))

    facts = told(run, story)
    assert (stat.S_IMODE(facts.st_mode), facts.st_uid) == (0o600, US)
    assert stat.S_IMODE(os.stat(run / "users").st_mode) == 0o755


def test_it_comes_and_goes_with_the_records_while_one_watches(run: Path) -> None:
    async def story(sockets: Sockets, door: Door) -> None:
        task = asyncio.create_task(sockets.keep())
        await asyncio.sleep(0)
        job = record(1)
        while not is_served(sockets.path(US)):
            await asyncio.sleep(0.005)
        jobs.bury(job)
        while os.path.exists(sockets.path(US)):
            await asyncio.sleep(0.005)
        task.cancel()

    told(run, story)


def test_a_record_that_is_being_written_is_waited_for(run: Path) -> None:
    async def story(sockets: Sockets, door: Door) -> None:
        os.makedirs(run / "jobs/1-0-xxxxxxxx")
        assert not sockets.renew()
        os.rmdir(run / "jobs/1-0-xxxxxxxx")
        record(1)
        assert sockets.renew()

    told(run, story)


def test_what_a_broker_before_us_left_is_replaced_or_removed(run: Path) -> None:
    async def story(sockets: Sockets, door: Door) -> tuple[list[str], bool]:
        record(1)
        (run / "users").mkdir()
        for uid in (US, 4711):
            (run / f"users/{uid}.sock").touch()
        sockets.renew()
        sockets.sweep()
        return names(run), is_served(sockets.path(US))

    assert told(run, story) == ([f"{US}.sock"], True)


def test_while_another_broker_takes_over_they_are_left_alone(run: Path) -> None:
    async def story(sockets: Sockets, door: Door) -> tuple[list[str], int]:
        sockets.hold()
        record(1)
        sockets.renew()
        before = names(run)
        sockets.resume()
        return before, len(names(run))

    assert told(run, story) == ([], 1)


def test_one_that_another_broker_took_and_left_is_made_anew(run: Path) -> None:
    async def story(sockets: Sockets, door: Door) -> bool:
        record(1)
        sockets.renew()
        sockets.hold()
        other = socket.socket(socket.AF_UNIX)  # binds, renames it over ours, and dies
        other.bind(f"{sockets.path(US)}.theirs")
        os.rename(f"{sockets.path(US)}.theirs", sockets.path(US))
        other.close()
        sockets.resume()
        return is_served(sockets.path(US))

    assert told(run, story)
