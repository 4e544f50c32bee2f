# SPDX-License-Identifier: Apache-2.0
"""What runs inside: command, environment, working directory, streams, labels. Bounded in size, passed as typed.

Stops: labels that claim another job's container (ours are forced over the image's and
the user's); a working directory in /proc, through which runc has been left before (CVE-2024-21626).
Costs: nothing.
Docker: the command line itself, --entrypoint, -e, -w, -i, -t, --label, --hostname, --domainname.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Units, nothing_to_check, nothing_to_see, owned
from slurm_hooks.settings import Settings

PASSED = ("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "HostConfig.ConsoleSize")
LISTS = ("Cmd", "Entrypoint", "Env")
LABEL_JOB, LABEL_NONCE, PREFIX = "slurm-hooks.job", "slurm-hooks.nonce", "slurm-hooks."
HOST = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62})")
MOST_BYTES = 256 * 1024  # of arguments and environment; the kernel's own limit is a quarter of the stack
OURS = f"labels that begin with {PREFIX} are ours"
ROWS = (
    *(Row(name, "allow", "how the client's terminal and streams are joined to it") for name in PASSED),
    Row("Cmd", "allow", "what runs inside; with the others at most 256 KiB"),
    Row("Entrypoint", "allow", "what runs inside"),
    Row("Env", "allow", "as typed; the site's own variables (container.environment) where the user sets none"),
    Row("WorkingDir", "allow", "absolute, not in /proc, /sys or /dev"),
    Row("Hostname", "allow", "a host name"),
    Row("Domainname", "allow", "a host name"),
    Row("Labels", "allow", "as typed"),
    Row(f"Labels:{PREFIX}", "deny", OURS, todo="Choose another name."),
    Row("HostConfig.ContainerIDFile", "drop", "a file of the client's own, which the client writes"),
)
OWNS = owned(ROWS)

verify = nothing_to_see
check = nothing_to_check


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    fields: dict[str, Any] = {name: units[name] for name in (*PASSED, *LISTS) if name in units}
    if sum(len(text) for name in LISTS for text in units.get(name, ())) > MOST_BYTES:
        raise Refused("command and environment", f"longer than {MOST_BYTES // 1024} KiB", "Put them into a file.")
    if "WorkingDir" in units:
        fields["WorkingDir"] = working_directory(units["WorkingDir"])
    for name in ("Hostname", "Domainname"):
        if name in units:
            if not HOST.fullmatch(units[name]):
                raise Refused(
                    f"--{name.lower()} {units[name][:80]!r}",
                    "not a host name",
                    "Use letters, digits, dots and hyphens.",
                )
            fields[name] = units[name]
    if site.container.environment:
        fields["Env"] = environment(units.get("Env", ()), site.container.environment)
    labels = dict(units.get("Labels", {}))
    if claimed := next((label for label in labels if label.lower().startswith(PREFIX)), None):
        raise Refused(f"--label {claimed}", OURS, "Choose another name.")
    fields["Labels"] = {**labels, LABEL_JOB: job.key, LABEL_NONCE: job.nonce}
    return Confinement(fields)


def environment(wish: Sequence[str], site: Mapping[str, str]) -> list[str]:
    """The site's variables, where the user sets none of that name, and then the user's."""
    asked = {variable.partition("=")[0] for variable in wish}
    return [*(f"{name}={value}" for name, value in site.items() if name not in asked), *wish]


def working_directory(path: str) -> str:
    """A container's or an exec's working directory: absolute, clean, not in /proc or /dev. Raises Refused."""
    clean = "/" + posixpath.normpath(path).lstrip("/")  # normpath keeps two slashes at the beginning
    if not path.startswith("/") or ".." in path.split("/"):
        raise Refused(f"--workdir {path[:80]!r}", "not an absolute path", "Begin it with a slash.")
    if any(clean == top or clean.startswith(f"{top}/") for top in ("/proc", "/dev", "/sys")):
        raise Refused(f"--workdir {clean}", "a program does not start in /proc, /sys or /dev", "Choose another.")
    return clean
