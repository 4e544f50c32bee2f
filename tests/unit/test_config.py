# SPDX-License-Identifier: Apache-2.0
"""slurm-hooks.toml: what is wrong with it is said with file, place and key; hooks read a fresh copy."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from slurm_hooks import config, escapes
from slurm_hooks.errors import BadConfig
from slurm_hooks.settings import Settings
from tests.unit.policy import ROOT

# A file must be root's before a hook obeys it, so what is tested of good files needs root.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="a configuration must be root's: run as root")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A configuration file of root's."""
    path = tmp_path / "slurm-hooks.toml"
    path.touch(0o644)
    return path


def load(source: Path, text: str = "", **options: Any) -> Settings:
    source.write_text(text)
    return config.load(str(source), **options)


@as_root
def test_an_empty_file_is_all_defaults(source: Path) -> None:
    assert load(source) == Settings()


def test_no_file_is_all_defaults(tmp_path: Path) -> None:
    assert config.load(str(tmp_path / "missing"), keep=False) == Settings()


def test_the_file_that_we_ship_states_the_defaults() -> None:
    text = (ROOT / "etc" / "slurm-hooks" / "slurm-hooks.toml").read_text()
    import tomllib

    assert msgspec.convert(tomllib.loads(text), Settings) == Settings()
    assert set(tomllib.loads(text)) == {
        "site",
        "node",
        "job",
        "container",
        "mounts",
        "devices",
        "images",
        "docker",
        "epilog",
    }


@as_root
def test_a_value_is_taken(source: Path) -> None:
    settings = load(source, "[job]\npids = 100\n[partition.debug]\npids = 50\n[mounts]\ndeny = ['/scratch/x']\n")
    assert settings.job.pids == 100
    assert settings.partition["debug"].pids == 50
    assert settings.mounts.deny == ("/scratch/x",)


@as_root
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[job]\npidz = 1\n", "unknown field `pidz` - at `$.job`"),
        ("pidz = 1\n", "unknown field `pidz`"),
        ("[jobs]\npids = 100\n", "unknown field `jobs`"),
        ("[partition.debug]\nnumber = 1\n", "unknown field `number` - at `$.partition[...]`"),
        ("[job]\npids = '100'\n", "Expected `int`, got `str` - at `$.job.pids`"),
        ("[job]\npids = 1.5\n", "Expected `int`, got `float` - at `$.job.pids`"),
        ("[job]\npids = true\n", "Expected `int`, got `bool` - at `$.job.pids`"),
        ("[job]\npids = 0\n", "Expected `int` >= 16 - at `$.job.pids`"),
        ("[job]\npids = -1\n", "Expected `int` >= 16 - at `$.job.pids`"),
        ("[container]\nreadonly_root = 'yes'\n", "Expected `bool`, got `str` - at `$.container.readonly_root`"),
        ("[mounts]\ndeny = '/x'\n", "at `$.mounts.deny`"),
        ("[mounts]\ndeny = ['x']\n", "at `$.mounts.deny[0]`"),
        ("[mounts]\ndeny = ['/x/']\n", "at `$.mounts.deny[0]`"),
        ("[mounts]\ndeny = ['/x/../y']\n", "at `$.mounts.deny[0]`"),
        ("[mounts]\nallow = ['/x//y']\n", "at `$.mounts.allow[0]`"),
        ("[container]\npids = 100\npids_max = 50\n", "pids_max 50 is below pids 100 - at `$.container`"),
        (
            "[container]\npids_max = 2000\n[partition.a.container]\npids = 3000\npids_max = 50",
            "partition a: pids_max 50",
        ),
        ("[container.environment]\n'A=B' = 'x'\n", "at `key` in `$.container.environment`"),
        ("[container.environment]\nA = 1\n", "at `$.container.environment[...]`"),
        ('[site]\nhelp = "a\\nb"\n', "at `$.site.help`"),
        ("job = 1\n", "at `$.job`"),
        ("[job\npids = 1\n", "at line 1"),
        ("[job]\npids = 1\npids = 2\n", "at line 3"),
        ("[job]\n\npids = \n", "at line 3"),
        ("\x00", "at line 1"),
    ],
)
def test_what_is_wrong_is_said_with_file_place_and_key(source: Path, text: str, words: str) -> None:
    with pytest.raises(BadConfig) as error:
        load(source, text)
    assert str(error.value).startswith(f"{source}: ")
    assert words in str(error.value)
    assert str(error.value).isprintable()


@as_root
def test_a_file_that_is_not_utf8_is_said_to_be_broken(source: Path) -> None:
    source.write_bytes(b"[mounts]\ndeny = ['/scratch/\xff']\n")
    with pytest.raises(BadConfig, match=f"^{source}: "):
        config.load(str(source), keep=False)


@as_root
@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620])
def test_a_file_that_others_may_write_is_refused(source: Path, mode: int) -> None:
    source.chmod(mode)
    with pytest.raises(BadConfig, match="others than root may write to it"):
        load(source)


@as_root
def test_a_file_of_another_user_is_refused(source: Path) -> None:
    os.chown(source, 65534, 65534)
    with pytest.raises(BadConfig, match="others than root may write to it"):
        config.load(str(source), keep=False)


# -- the hooks' copy -------------------------------------------------------------------------------


@as_root
def test_a_hook_reads_the_copy_that_the_program_left(source: Path, run: Path) -> None:
    load(source, "[job]\npids = 100\n")
    assert config.for_hooks(str(source))["job"]["pids"] == 100


@as_root
def test_the_copy_is_whole_and_plain(source: Path, run: Path) -> None:
    settings = load(source, "[partition.debug]\npids = 50\n")
    assert msgspec.convert(config.for_hooks(str(source)), Settings, strict=False) == settings
    assert stat.S_IMODE((run / "config.json").stat().st_mode) & 0o022 == 0


@as_root
def test_nothing_is_left_where_a_file_is_only_validated(source: Path, run: Path) -> None:
    load(source, keep=False)
    assert list(run.iterdir()) == []


@as_root
def test_a_broken_file_leaves_the_last_good_copy(source: Path, run: Path) -> None:
    load(source, "[job]\npids = 100\n")
    with pytest.raises(BadConfig):
        load(source, "[job]\npids = 'many'\n")
    last = config.last_good()
    assert last is not None and last["job"]["pids"] == 100


def test_without_a_copy_nothing_is_the_last_good(run: Path) -> None:
    assert config.last_good() is None
    (run / "config.json").write_text("{")
    assert config.last_good() is None


@as_root
def test_the_stamp_changes_with_the_file(source: Path) -> None:
    seen = [config.stamp(str(source))]
    source.write_text("# longer\n")
    seen.append(config.stamp(str(source)))
    os.utime(source, ns=(0, 1))
    seen.append(config.stamp(str(source)))
    fresh = source.with_suffix(".new")
    fresh.write_text("# longer\n")
    fresh.rename(source)
    os.utime(source, ns=(0, 1))
    seen.append(config.stamp(str(source)))
    assert len({tuple(stamp) for stamp in seen}) == 4


def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """The installed program, replaced by a small one that is really run."""
    path = tmp_path / "slurm-hooks"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(config, "PROGRAM", str(path))


@as_root
def test_a_stale_copy_is_made_anew_by_the_program(
    source: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(source, "[job]\npids = 100\n")
    source.write_text("[job]\npids = 200\n# changed\n")
    program(tmp_path, monkeypatch, """[ "$*" = "config --json" ] && echo '{"job": {"pids": 200}}'""")
    assert config.for_hooks(str(source)) == {"job": {"pids": 200}}


@as_root
def test_a_hook_repeats_what_the_program_said_of_a_broken_file(
    source: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, monkeypatch, "echo 'slurm-hooks: /etc/x: unknown field `y`' >&2; exit 1")
    with pytest.raises(BadConfig) as error:
        config.for_hooks(str(source))
    assert str(error.value) == "/etc/x: unknown field `y`"


@as_root
@pytest.mark.parametrize("script", ["exit 1", "echo no JSON"], ids=["silent failure", "nonsense"])
def test_a_broken_program_is_told_as_such(
    source: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    program(tmp_path, monkeypatch, script)
    with pytest.raises(BadConfig, match="slurm-hooks config"):
        config.for_hooks(str(source))


@as_root
def test_a_missing_program_is_told_as_such(
    source: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "PROGRAM", str(tmp_path / "not-installed"))
    with pytest.raises(BadConfig, match="not-installed"):
        config.for_hooks(str(source))


@as_root
def test_a_damaged_copy_is_not_believed(
    source: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, monkeypatch, "echo '{}'")
    for text in ("", "[]", "{}", json.dumps({"stamp": [1, 2, 3], "settings": {"job": 1}}), "\udcff"):
        (run / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        assert config.for_hooks(str(source)) == {}


def test_what_a_hook_takes_without_a_table_is_the_settings_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "for_epilog", dict)
    assert config.docker_socket({}) == Settings().docker.socket
    assert escapes.choices() == msgspec.to_builtins(Settings().epilog)
