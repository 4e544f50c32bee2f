# SPDX-License-Identifier: Apache-2.0
"""What a site chooses within the wall: what it sets holds, a partition's words in its place, and no more than that."""

from __future__ import annotations

import tomllib
from typing import Any

import msgspec
import pytest

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.mounts import DENIED, admit
from slurm_hooks.settings import Mounts, Settings
from tests.unit.policy import ROOT, cli, decide, sent


def site(text: str, partition: str = "") -> Settings:
    return msgspec.convert(tomllib.loads(text), Settings).of_partition(partition)


def pids(wish: int | None, settings: Settings) -> int:
    body = cli() if wish is None else cli(HostConfig_PidsLimit=wish)
    figure: int = sent(body, settings)["HostConfig"]["PidsLimit"]
    return figure


def may_mount(path: str, settings: Settings) -> bool:
    stage = decide(cli(HostConfig_Binds=[f"{path}:/x"]), settings).stages[0]
    return admit(stage, path, "directory", 1001) == ""


def test_a_container_gets_the_default_and_may_ask_for_the_maximum() -> None:
    own = site("[container]\npids = 100\npids_max = 200")
    assert (pids(None, own), pids(200, own), pids(5, own)) == (100, 200, 5)
    with pytest.raises(
        Refused, match=r"^--pids-limit 201: a container may have 200 processes here\. Ask for 1 to 200\.$"
    ):
        pids(201, own)


def test_without_a_maximum_the_default_is_it() -> None:
    with pytest.raises(Refused, match="Ask for 1 to 100"):
        pids(101, site("[container]\npids = 100"))


def test_no_maximum_is_above_the_jobs_own_figure() -> None:
    own = site("[container]\npids = 5000\npids_max = 9000")
    assert pids(None, own) == 4096  # JOB's
    with pytest.raises(Refused, match="Ask for 1 to 4096"):
        pids(4097, own)


def test_where_places_are_allowed_no_other_is() -> None:
    own = site("[mounts]\nallow = ['/home', '/scratch/x']\ndeny = ['/home/admin']")
    allowed = ("/home", "/home/u", "/home/u/a/b", "/scratch/x", "/scratch/x/y")
    assert [path for path in allowed if not may_mount(path, own)] == ["/home"]  # it contains what is denied
    assert not any(
        may_mount(path, own) for path in ("/", "/data", "/homes", "/scratch", "/scratch/xy", "/home/admin/a")
    )


@pytest.mark.parametrize("place", DENIED)
def test_no_site_can_allow_what_the_program_refuses(place: str) -> None:
    assert not may_mount(place, site(f"[mounts]\nallow = ['{place}', '/']"))


def test_a_root_allowed_allows_all_that_is_not_refused() -> None:
    own = site("[mounts]\nallow = ['/']")
    assert may_mount("/home/u", own)
    assert not may_mount("/etc", own)


def test_the_sites_variables_are_in_each_container_and_the_users_own_win() -> None:
    own = site("[container.environment]\nA = 'site'\nB = ''")
    assert sent(cli(), own)["Env"] == ["A=site", "B="]
    assert sent(cli(Env=["A=user", "C"]), own)["Env"] == ["B=", "A=user", "C"]
    assert sent(cli(Env=["A"]), own)["Env"] == ["B=", "A"]


PARTITIONS = """
[container]
pids = 1000
pids_max = 2000
readonly_root = true
[container.environment]
A = "site"
B = "site"
[mounts]
allow = ["/home"]
deny = ["/home/admin"]
[partition.small]
pids = 256
[partition.small.container]
pids = 100
number = 2
readonly_root = false
[partition.small.container.environment]
B = "small"
[partition.small.mounts]
allow = ["/scratch"]
deny = ["/scratch/admin"]
"""


@pytest.mark.parametrize(("text", "noexec"), [("", True), ("[partition.a.mounts]\nnoexec = false", False)])
def test_a_partition_has_the_sites_mounts_but_for_what_it_says_itself(text: str, noexec: bool) -> None:  # noqa: FBT001
    own = site(f"[mounts]\nnoexec = true\nallow = ['/a']\n[partition.a]\n{text}", "a")
    assert own.mounts == Mounts(allow=("/a",), noexec=noexec)


def test_a_partitions_words_hold_in_it() -> None:
    own = site(PARTITIONS, "small")
    assert (own.container.number, own.container.readonly_root) == (2, False)
    assert own.container.most_pids == 100  # the site's maximum was for the site's figure
    assert own.container.environment == {"A": "site", "B": "small"}
    assert own.mounts.allow == ("/scratch",)
    assert own.mounts.deny == ("/home/admin", "/scratch/admin")


@pytest.mark.parametrize("partition", ["", "other", "Small"])
def test_elsewhere_the_sites_own_hold(partition: str) -> None:
    own = site(PARTITIONS, partition)
    assert (own.container.number, own.container.most_pids, own.mounts.allow) == (64, 2000, ("/home",))


def defaults(struct: Any, above: str = "") -> dict[str, Any]:
    """Every setting by its whole name, with its default."""
    found: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(struct).items():
        if isinstance(value, msgspec.Struct):
            found |= defaults(value, f"{above}{name}.")
        elif name != "partition":
            found[f"{above}{name}"] = msgspec.json.decode(msgspec.json.encode(value))
    return found


@pytest.mark.parametrize(("name", "default"), defaults(Settings()).items())
def test_each_setting_is_in_the_operators_table_with_its_default(name: str, default: Any) -> None:
    (row,) = [line for line in (ROOT / "docs" / "operators.md").read_text().splitlines() if f"| `{name}` |" in line]
    shown = row.split("|")[2].strip().strip("`")
    table = name.rpartition(".")[0]
    assert tomllib.loads(f"x = {shown}")["x"] == default if default is not None else shown == "pids", (table, row)
