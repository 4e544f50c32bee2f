# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks VERB`: errors are one line and a status."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from slurm_hooks import __version__, cli, events
from tests.unit.test_config import as_root


@pytest.mark.parametrize(
    "verb", ["prolog", "task-prolog", "epilog", "sweep", "broker", "report", "metrics", "check", "config"]
)
def test_each_verb_explains_itself_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main([verb, "--help"])
    assert done.value.code == 0
    assert f"Example: slurm-hooks {verb}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["report"], ["report", "x"], ["epilog", "1.5"]])
def test_a_wrong_command_line_is_a_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(arguments)
    assert done.value.code == 2
    assert "usage: slurm-hooks" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"slurm-hooks {__version__}\n"


@as_root
def test_a_good_configuration_is_printed_with_all_that_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.toml"
    file.write_text("[job]\npids = 100\n")
    assert cli.main(["config", "--json", str(file)]) == 0
    settings = json.loads(capsys.readouterr().out)
    assert (settings["job"]["pids"], settings["container"]["pids"]) == (100, 1024)


@as_root
def test_a_broken_configuration_is_one_line_and_a_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "other.toml"
    file.write_text("[job]\npidz = 100\n")
    assert cli.main(["config", str(file)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"slurm-hooks: {file}: ") and "`pidz`" in line


def test_a_report_of_a_job_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    events.record("oom", job=7, container="c1")
    assert cli.main(["report", "7"]) == 0
    assert capsys.readouterr().out.endswith("oom        container c1: memory ran out, its own or the job's\n")


@pytest.mark.parametrize("verb", ["report", "epilog"])
def test_an_unknown_job_is_one_line_and_a_1(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "7"]) == 1
    assert capsys.readouterr().err.startswith("slurm-hooks: job 7: no ")


def test_a_reader_that_leaves_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    # In a child, as it is the standard output of the process that is given up.
    reader, writer = os.pipe()
    os.close(reader)
    child = os.fork()
    if child == 0:
        try:
            os.dup2(writer, 1)
            events.record("oom", job=7, container="c1")
            os._exit(cli.main(["report", "7"]))
        except BaseException:
            os._exit(99)
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
