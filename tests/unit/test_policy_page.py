# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks policy`: what it prints is what the tables decide, and docs/policy.md is what it prints."""

from __future__ import annotations

import json

import pytest

from slurm_hooks import cli, knobs, policy
from slurm_hooks.broker import routes
from slurm_hooks.errors import HooksError
from slurm_hooks.knobs import execs
from slurm_hooks.settings import Settings
from tests.unit.policy import ROOT
from tests.unit.test_settings import site


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["policy", "--defaults", *arguments]) == 0
    return capsys.readouterr().out


def test_the_page_in_docs_is_what_the_program_prints(capsys: pytest.CaptureFixture[str]) -> None:
    # To make it anew: slurm-hooks policy --markdown --defaults > docs/policy.md
    assert printed(capsys, "--markdown") == (ROOT / "docs" / "policy.md").read_text()


@pytest.mark.parametrize("form", ["--json", "--markdown", ""])
def test_every_endpoint_and_every_field_is_printed(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, *filter(None, (form,)))
    for route in routes.ROUTES:
        assert route.method in text and route.template in text
    for row in (*(row for name in knobs.KNOBS for row in knobs.rows(name)), *execs.ROWS):
        assert row.unit in text
    for _, what, why, _ in routes.REFUSALS:
        assert what in text and why in text


def test_programs_get_each_field_with_its_knob_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(printed(capsys, "--json"))
    by_field = {line["field"]: line for line in data["fields"]}
    assert by_field["User"] == {
        "field": "User", "flag": "--user", "action": "force", "value": "<uid>:<gid>", "knob": "identity",
        "reason": "a job's container runs as the job's own user; root inside: refuse", "instead": "",
    }  # fmt: skip
    assert by_field["HostConfig.Privileged"]["instead"].startswith("Leave it out")
    create = next(line for line in data["endpoints"] if line["path"] == "/containers/create")
    assert (create["action"], set(create["query"])) == ("decided", {"name", "platform"})


def test_the_sites_own_values_are_filled_in() -> None:
    fields = {line.field: line for line in policy.fields(site("[container]\npids = 100\npids_max = 200"))}
    assert fields["HostConfig.PidsLimit"].value == "1 to 200; 100 unless asked"
    assert not any("{container" in f"{line.value}{line.reason}{line.instead}" for line in fields.values())


def test_a_field_that_the_site_opens_is_printed_as_allowed() -> None:
    fields = {line.field: line for line in policy.fields(site("[container]\nreadonly_root = false"))}
    line = fields["HostConfig.ReadonlyRootfs"]
    assert (line.action, line.reason) == ("allow", "the site has set container.readonly_root = false")


def test_how_mounts_are_mounted_is_printed() -> None:
    fields = {line.field: line for line in policy.fields(site("[mounts]\nnoexec = true"))}
    assert fields["HostConfig.Binds"].reason.endswith("mounted nosuid, nodev, noexec and private")


@pytest.mark.parametrize(
    ("choice", "answers"),
    [("allow", ["socket: in part"] * 3 + ["socketpair: in part"]),
     ("refuse", ["socket: EAFNOSUPPORT"] + ["socket: in part"] * 2 + ["socketpair: in part"])],
)  # fmt: skip
def test_the_calls_are_printed_that_the_site_leaves_open(choice: str, answers: list[str]) -> None:
    lines = policy.syscalls(site(f"[mounts]\nsockets = '{choice}'"))
    said = [f"{line.calls[0]}: {line.answer}" for line in lines if line.calls[0].startswith("socket")]
    assert sorted(said) == answers


def test_a_partitions_own_words_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    policy.main(site("[partition.a.container]\npids = 77"), "a", as_json=False, as_markdown=False)
    assert "1 to 77" in capsys.readouterr().out


def test_an_unknown_partition_is_an_error() -> None:
    with pytest.raises(HooksError, match="partition a: "):
        policy.main(Settings(), "a", as_json=False, as_markdown=False)
