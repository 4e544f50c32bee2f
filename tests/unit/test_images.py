# SPDX-License-Identifier: Apache-2.0
"""Which image a name means, which of them a site lets jobs run and pull, and whose password goes where."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import Any

import msgspec
import pytest

from slurm_hooks.broker import answers, pulls
from slurm_hooks.errors import HooksError, Refused
from slurm_hooks.knobs import images
from slurm_hooks.settings import Settings

DIGEST = "sha256:" + "0123456789abcdef" * 4


def site(**values: Any) -> Settings:
    return msgspec.convert({"images": values}, Settings)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("img", "docker.io/library/img:latest"),
        ("img:1.0_x", "docker.io/library/img:1.0_x"),
        ("team/img", "docker.io/team/img:latest"),
        ("docker.io/img", "docker.io/library/img:latest"),
        ("index.docker.io/team/img", "docker.io/team/img:latest"),
        ("localhost/img", "localhost/img:latest"),
        ("reg.site/img", "reg.site/img:latest"),
        ("reg:5000/a/b-c__d.e:1", "reg:5000/a/b-c__d.e:1"),
        ("Reg/img", "Reg/img:latest"),
        (f"img:1@{DIGEST}", f"docker.io/library/img@{DIGEST}"),
    ],
)
def test_a_name_means_what_it_means_to_moby(typed: str, meant: str) -> None:
    assert images.parse(typed).name == meant


@pytest.mark.parametrize(
    "typed",
    [
        "", "Img", "img:", "img@", "img@sha256:0", f"img@md5:{'0' * 32}", "a//b", "a/../b", "a/./b", "/img", "img/",
        "-img", "a..b", "a___b", "reg:port/img", "reg:5000/", "http://reg/img", "img:-x", "img tag", "im\u0261",
        "img\n", f"img:{'x' * 129}", "reg.site/" + "a" * 250, "[::1]:5000/img", "img?x", "img#x", "img%2f",
    ],
)  # fmt: skip
def test_what_moby_would_not_take_is_no_name(typed: str) -> None:
    with pytest.raises(Refused, match="not a name of an image"):
        images.parse(typed)


@pytest.mark.parametrize(
    ("pattern", "name", "admitted"),
    [
        ("*", "<none>:<none>", True),
        ("img", "img:latest", True),
        ("img", f"img@{DIGEST}", True),
        ("img", "docker.io/library/img:2", True),
        ("img", "reg.site/img:latest", False),
        ("img", "imgs:latest", False),
        ("img", "<none>:<none>", False),
        ("team/*", "team/a/b:1", True),
        ("team/*", "reg.site/team/a:1", False),
        ("reg.site:5000/tools/*", "reg.site:5000/tools/x:1", True),
        ("reg.site:5000/tools/*", "regxsite:5000/tools/x:1", False),
        ("reg.site:5000/tools/*", "reg.site:5000/other/x:1", False),
        ("reg.site:5000/tools/*", "reg.site:5000/toolsx:1", False),
    ],
)
def test_a_site_allows_repositories(pattern: str, name: str, admitted: bool) -> None:  # noqa: FBT001
    assert images.admits([name], site(allow=[pattern])) is admitted


def test_without_a_registry_nothing_is_pulled() -> None:
    with pytest.raises(Refused, match=r"^docker pull: a job runs the images that `docker images` lists\. Ask the site"):
        images.to_pull("img", "latest", site())


REGISTRIES = {"registries": ["reg.site:5000"]}


@pytest.mark.parametrize(
    ("image", "tag", "asked"),
    [
        ("reg.site:5000/a", "1", "reg.site:5000/a:1"),
        ("reg.site:5000/a:2", "", "reg.site:5000/a:2"),
        ("reg.site:5000/a:2", "1", "reg.site:5000/a:1"),
        ("reg.site:5000/a", DIGEST, f"reg.site:5000/a@{DIGEST}"),
        (f"reg.site:5000/a:1@{DIGEST}", "", f"reg.site:5000/a@{DIGEST}"),
    ],
)
def test_a_pull_names_one_image(image: str, tag: str, asked: str) -> None:
    assert images.to_pull(image, tag, site(**REGISTRIES)).name == asked


@pytest.mark.parametrize(
    ("image", "tag", "why"),
    [
        ("img", "1", "docker.io is not a registry for jobs here (reg.site:5000)"),
        ("169.254.169.254/latest/meta-data", "1", "169.254.169.254 is not a registry"),
        ("reg.site/a", "1", "reg.site is not a registry"),
        ("reg.site:5000/a", "", "docker pull --all-tags"),
        ("reg.site:5000/a", "1/../2", "is not a tag"),
        ("reg.site:5000/a", "sha256:0", "is not a tag"),
        ("reg.site:5000/a/../b", "1", "not a name of an image"),
        ("", "1", "not a name of an image"),
    ],
)
def test_another_pull_is_refused(image: str, tag: str, why: str) -> None:
    with pytest.raises(Refused) as refusal:
        images.to_pull(image, tag, site(**REGISTRIES))
    assert why in str(refusal.value)


def test_what_may_not_run_is_not_pulled() -> None:
    with pytest.raises(Refused, match="not an image that the site lets jobs run"):
        images.to_pull("reg.site:5000/a", "1", site(**REGISTRIES, allow=["reg.site:5000/tools/*"]))


def header(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def written(value: Any, domain: str = "reg.site:5000", **options: Any) -> Any:
    encoded = pulls.authorised(site(**REGISTRIES, **options), domain, header(value))
    return json.loads(base64.urlsafe_b64decode(encoded)) if encoded else None


@pytest.mark.parametrize("address", ["reg.site:5000", "https://reg.site:5000", "http://reg.site:5000/v2/", ""])
def test_credentials_are_written_anew_for_the_registry(address: str) -> None:
    given = {"username": "ann", "password": "pass ü", "auth": "eA==", "email": "a@b", "serveraddress": address}
    assert written(given) == {"username": "ann", "password": "pass ü", "serveraddress": "reg.site:5000"}


def test_dockers_own_registry_has_an_address_of_its_own() -> None:
    given = {"identitytoken": "t", "serveraddress": "https://index.docker.io/v1/"}
    assert written(given, "docker.io") == given


@pytest.mark.parametrize("value", [{}, {"serveraddress": "reg.site:5000"}, {"username": "", "password": ""}])
def test_credentials_that_say_nothing_are_dropped(value: dict[str, str]) -> None:
    assert written(value) is None


def test_no_header_is_no_credentials() -> None:
    assert pulls.authorised(site(**REGISTRIES), "reg.site:5000", "") == ""


@pytest.mark.parametrize(
    "value",
    [
        {"username": "ann", "password": "p", "serveraddress": "elsewhere.example"},
        {"username": "ann", "password": "p", "serveraddress": "https://reg.site:5000@elsewhere.example/"},
        {"registrytoken": "a\r\nHost: x"},
        {"username": "ann", "Password": "p"},
        {"username": "ann", "newfield": "p"},
        ["ann"],
        "ann",
    ],
)
def test_other_credentials_are_refused(value: Any) -> None:
    with pytest.raises(HooksError):
        written(value)


@pytest.mark.parametrize("text", ["=", "ü", "e30", "{}", "e30=e30=", header({"username": "x"}) + "!"])
def test_a_header_that_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(HooksError):
        pulls.authorised(site(**REGISTRIES), "reg.site:5000", text)


def test_a_site_may_take_no_credentials() -> None:
    with pytest.raises(Refused, match="credentials of one's own"):
        written({"username": "ann", "password": "p"}, credentials=False)


async def turns(keys: list[str], site: Settings) -> tuple[list[str], list[str]]:
    """Pulls of these jobs: which began at once, and in which order all did, when each ends as soon as it may."""
    taking, began, may_end = pulls.Turns(), [], asyncio.Event()

    async def one(name: str) -> None:
        async with taking.taken(name[0], site.images):
            began.append(name)
            await may_end.wait()

    tasks = [asyncio.create_task(one(f"{key}{number}")) for number, key in enumerate(keys)]
    for _ in range(10):
        await asyncio.sleep(0)
    at_once = list(began)
    may_end.set()
    await asyncio.gather(*tasks)
    return at_once, began


def test_pulls_of_a_job_and_of_a_node_take_turns() -> None:
    at_once, began = asyncio.run(turns(["a", "a", "b", "c", "d"], site(pulls_of_node=2)))
    assert at_once == ["a0", "b2"]
    assert sorted(began) == ["a0", "a1", "b2", "c3", "d4"]


def test_a_pull_that_was_broken_off_leaves_its_turn() -> None:
    async def broken() -> int:
        taking = pulls.Turns()
        for _ in range(3):
            with contextlib.suppress(ConnectionError):
                async with taking.taken("a", site().images):
                    raise ConnectionError
        return 3

    assert asyncio.run(asyncio.wait_for(broken(), 5)) == 3


def test_a_container_shows_the_image_that_was_typed() -> None:
    typed = {"c1": "img"}
    listed = {"Id": "c1", "Image": DIGEST, "ImageID": DIGEST}
    inspected = {"Id": "c1", "Image": DIGEST, "Config": {"Image": DIGEST, "Cmd": None}}
    assert answers.of_image(listed, typed) == {"Id": "c1", "Image": "img", "ImageID": DIGEST}
    assert answers.of_image(inspected, typed)["Config"] == {"Image": "img", "Cmd": None}
    assert answers.of_image(inspected, typed)["Image"] == DIGEST
    assert answers.of_image({"Id": "c2", "ImageID": DIGEST}, typed) == {"Id": "c2", "ImageID": DIGEST}


class File:
    """A file system as statvfs(3) has it: the free megabytes at each look, None where it does not answer."""

    f_frsize = 1_000_000

    def __init__(self, *free: int | None) -> None:
        self._free = list(free)

    def look(self, path: str) -> File:
        now = self._free.pop(0)
        if now is None:
            raise OSError(116, "Stale file handle")
        self.f_bavail = now
        return self


@pytest.mark.parametrize(
    ("looks", "grown"),
    [
        ((500, 500), [0]),
        ((500, 480, 300), [10, 100]),  # two pulls may go on at once, so half of it is one's
        ((500, None, 480), [0, 10]),  # what cannot be told is no growth
        ((500, 480, None), [10, 10]),
        ((None, 500, 480), [0, 10]),
        ((None, None, None), [0, 0]),
        ((500, 600), [-50]),  # somebody has cleaned up
    ],
)
def test_a_file_systems_growth_is_told_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, looks: tuple[int | None, ...], grown: list[int]
) -> None:
    monkeypatch.setattr(pulls, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr("os.statvfs", File(*looks).look)
    disk = pulls.Disk("/var/lib/docker")
    assert [disk.grown(site(pulls_of_node=2).images) // 1_000_000 for _ in grown] == grown


def test_a_file_system_is_looked_at_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.statvfs", File(500, 480).look)
    disk = pulls.Disk("/var/lib/docker")
    assert {disk.grown(site(pulls_of_node=1).images) for _ in range(1000)} == {20_000_000}
