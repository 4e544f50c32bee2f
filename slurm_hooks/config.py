# SPDX-License-Identifier: Apache-2.0
"""The site's configuration: one validator, and a JSON copy for the hooks.

`/etc/slurm-hooks/slurm-hooks.toml` is decoded into closed, frozen structs by
`load`. A hook cannot afford tomllib and msgspec on its healthy path, so `load`
leaves a JSON copy in the run directory, stamped with the source's inode and
mtime; `for_hooks` reads that copy, and has it made anew when the stamp differs.
"""

from __future__ import annotations

import os
import stat

from slurm_hooks import linux, quickjson
from slurm_hooks.errors import BadConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from slurm_hooks.settings import Settings

SOURCE = "/etc/slurm-hooks/slurm-hooks.toml"
RUN = "/run/slurm-hooks"
EVENTS = "/var/log/slurm-hooks/events.jsonl"
STATE = "/var/lib/slurm-hooks"
DOCKER_SOCKET = "/run/slurm-hooks-docker/docker.sock"
PROGRAM = "/usr/bin/slurm-hooks"
NETWORKS = f"{RUN}/networks.json"  # what of the restricted networks stands, by slurm-hooks networks


def stamp(source: str = SOURCE) -> list[int]:
    """[inode, mtime in ns, size] of the source; zeros where the site has no file (defaults hold).

    Raises:
        BadConfig: the file is not root's alone to write. Root's hooks obey it, so it must be.
    """
    try:
        facts = os.stat(source)
    except FileNotFoundError:
        return [0, 0, 0]
    if facts.st_uid != 0 or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadConfig(source, "others than root may write to it", f"Run: chown root {source}; chmod go-w {source}.")
    return [facts.st_ino, facts.st_mtime_ns, facts.st_size]


def load(source: str = SOURCE, run: str = RUN, *, keep: bool = True) -> Settings:
    """Read and validate the configuration; leave the hooks' copy where `keep` and we may.

    Raises:
        BadConfig: names the file, the line or the path of the key, and the key.
    """
    import tomllib

    import msgspec

    from slurm_hooks.settings import Settings

    seal = stamp(source)
    try:
        text = linux.read(source).encode("utf-8", "surrogateescape").decode() if seal[0] else ""
        settings = msgspec.convert(tomllib.loads(text), Settings)
    except UnicodeDecodeError as error:
        raise BadConfig(source, f"not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(source, str(error)) from None
    except msgspec.ValidationError as error:
        raise BadConfig(source, str(error), "See slurm-hooks.toml in the documentation.") from None
    except OSError as error:
        raise BadConfig(source, os.strerror(error.errno or 0)) from None
    if keep and os.geteuid() == 0:
        try:
            os.makedirs(run, 0o755, exist_ok=True)
            linux.replace(
                f"{run}/config.json",
                quickjson.dumps({"stamp": seal, "settings": msgspec.to_builtins(settings)}),
            )
        except OSError:
            pass  # no copy: the next hook asks again, and the run directory's own fault is told elsewhere
    return settings


def for_hooks(source: str = SOURCE, run: str = RUN) -> dict[str, Any]:
    """The settings as plain values, without msgspec where the copy is fresh.

    Raises:
        BadConfig: the configuration is broken.
    """
    seal = stamp(source)
    try:
        copy = quickjson.loads(linux.read(f"{run}/config.json"))
        if copy["stamp"] == seal:
            settings: dict[str, Any] = copy["settings"]
            return settings
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return _validated_elsewhere()


def last_good(run: str = RUN) -> dict[str, Any] | None:
    """The settings that held before the site's file broke, or None: limits must not fall with a typo."""
    try:
        settings: dict[str, Any] = quickjson.loads(linux.read(f"{run}/config.json"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return settings


def for_epilog() -> dict[str, Any]:
    """The settings, or those that held before the site's file broke; a table that is missing has its defaults."""
    try:
        return for_hooks()
    except BadConfig:
        return last_good() or {}


def docker_socket(settings: dict[str, Any]) -> str:
    """The jobs' dockerd, by the settings of a hook."""
    path: str = settings.get("docker", {}).get("socket", DOCKER_SOCKET)
    return path


def defaults() -> dict[str, Any]:
    """What holds where the site's file is broken and no good one is known. Raises BadConfig."""
    return _validated_elsewhere("--defaults")


def _validated_elsewhere(*how: str) -> dict[str, Any]:
    # A hook runs under -S and has no site-packages; the program that has them does the work, once a change.
    import subprocess

    try:
        done = subprocess.run(
            [PROGRAM, "config", "--json", *how],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env={"LC_ALL": "C.UTF-8"},
        )
        if done.returncode != 0:
            raise BadConfig(done.stderr.strip().removeprefix("slurm-hooks: ") or f"{PROGRAM} config failed")
        settings: dict[str, Any] = quickjson.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise BadConfig(f"{PROGRAM} config", f"cannot be used ({error})", "Install it, or run: make install.") from None
    return settings
