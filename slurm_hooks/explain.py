# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks explain 'docker run …'`: what would be changed or refused, by which knob. Runs nothing, asks no dockerd.

The command line is read as the client reads it, each flag is judged alone, so that all refusals are told at once, and
then all together. What only the launch can know is said to be so.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from slurm_hooks import commandline, config, knobs
from slurm_hooks.broker import model, routes
from slurm_hooks.broker.http1 import Request
from slurm_hooks.commandline import Command, Use
from slurm_hooks.errors import HooksError, Refused, with_help
from slurm_hooks.knobs import execs, identity, mounts, network, userns
from slurm_hooks.knobs.contract import JobFacts, Remap, Row, unit_of
from slurm_hooks.knobs.flags import flag
from slurm_hooks.policy import filled
from slurm_hooks.settings import Settings

ROWS: dict[str, Row] = {row.unit: row for name in knobs.KNOBS for row in knobs.rows(name)}
# Other commands of the client, by the request that each begins with.
REQUESTS = {
    "attach": "POST /containers/x/attach", "build": "POST /build", "buildx": "POST /build",
    "commit": "POST /commit", "cp": "GET /containers/x/archive", "diff": "GET /containers/x/changes",
    "events": "GET /events", "export": "GET /containers/x/export", "history": "GET /images/x/history",
    "images": "GET /images/json", "image ls": "GET /images/json", "import": "POST /images/create",
    "info": "GET /info", "inspect": "GET /containers/x/json", "kill": "POST /containers/x/kill",
    "load": "POST /images/load", "login": "POST /auth", "logs": "GET /containers/x/logs",
    "network": "POST /networks/create", "network ls": "GET /networks", "network inspect": "GET /networks/x",
    "pause": "POST /containers/x/pause", "plugin": "GET /plugins",
    "port": "GET /containers/x/json", "ps": "GET /containers/json", "pull": "POST /images/create",
    "push": "POST /images/x/push", "rename": "POST /containers/x/rename", "restart": "POST /containers/x/restart",
    "rm": "DELETE /containers/x", "rmi": "DELETE /images/x", "save": "GET /images/get",
    "search": "GET /images/search", "service": "GET /services", "start": "POST /containers/x/start",
    "stats": "GET /containers/x/stats", "stop": "POST /containers/x/stop", "swarm": "POST /swarm/init",
    "system": "GET /system/df", "tag": "POST /images/x/tag", "top": "GET /containers/x/top",
    "unpause": "POST /containers/x/unpause", "update": "POST /containers/x/update", "version": "GET /version",
    "volume": "POST /volumes/create", "volume ls": "GET /volumes", "wait": "POST /containers/x/wait",
}  # fmt: skip
# Forced rows whose value is no word of the command line.
SHOWN = {
    "HostConfig.MaskedPaths": "masked paths",
    "HostConfig.ReadonlyPaths": "read-only paths",
    "HostConfig.LogConfig": "--log-driver json-file",
    "HostConfig.ReadonlyRootfs": "--read-only",
    "HostConfig.RestartPolicy": "--restart no",
    "HostConfig.SecurityOpt:no-new-privileges": "--security-opt no-new-privileges",
    "HostConfig.SecurityOpt:seccomp": "--security-opt seccomp",
    "Healthcheck": "--no-healthcheck",
}
ROOT_INSIDE = "root inside, which is nobody on the node; only where its dockerd has userns-remap"
ASSUMED = Remap(100_000, 100_000)  # whom dockerd remaps root to, which is not asked here
# What cannot be judged without another flag.
WITH = {"HostConfig.MemorySwap": "HostConfig.Memory", "Volumes": "HostConfig.Binds"}


@dataclass(frozen=True, slots=True)
class Line:
    """What becomes of a flag, or of what was not asked."""

    action: str  # passes, forced, dropped, client, unknown, refused; later: only the launch can tell
    what: str
    words: str
    knob: str = ""


def explain(command: Command, job: JobFacts, site: Settings) -> list[Line]:
    """All that is to be said of a command. Pure."""
    if command.verb == "exec":
        words = (
            "the job's own; 0:0 in a container that is root's" if site.container.root == "remap" else "the job's own"
        )
        return [*_of_flags(command, job, site), Line("forced", f"--user {job.uid}:{job.gid}", words, "execs")]
    if command.verb in ("run", "create"):
        return [*_of_flags(command, job, site), *_together(command, job, site)]
    return [_of_request(command)]


def _of_flags(command: Command, job: JobFacts, site: Settings) -> Iterator[Line]:
    for use in command.uses:
        if not use.unit:
            yield Line("client", use.typed, "")
        elif refusal := _refusal(command, _with_others(command, use), job, site):
            yield Line("refused", refusal.what, _rule(refusal), _owner(command, use))
        else:
            yield _of_use(command, use, job, site)
    for name in command.unknown:
        yield Line("unknown", name, f"not a flag of docker {command.verb} that is known here")


def _with_others(command: Command, use: Use) -> list[Use]:
    return [use, *(other for other in command.uses if other.unit == WITH.get(use.unit))]


def _owner(command: Command, use: Use) -> str:
    return "execs" if command.verb == "exec" else knobs.OWNERS.get(_unit(use), "")


def _unit(use: Use) -> str:
    """The unit that a flag fills; of --security-opt it is its key's, or that of the paths which are to be open."""
    if use.unit != "HostConfig.SecurityOpt":
        return use.unit
    return next(iter(model.units(_create(Command("run"), [use]))), use.unit)


def _of_use(command: Command, use: Use, job: JobFacts, site: Settings) -> Line:
    if command.verb == "exec":
        row = {row.unit: row for row in execs.ROWS}[f"{execs.CREATE}.{use.unit}"]
        return Line("forced" if row.action == "force" else "passes", use.typed, row.reason, "execs")
    if use.unit == mounts.BINDS or use.unit == mounts.MOUNTS:
        return _of_mount(command, use, job, site)
    if knobs.OWNERS.get(use.unit) == "devices":
        return Line("later", use.typed, "of the GPUs that Slurm gives the job, none else", "devices")
    unit = _unit(use)
    if unit == "User" and _is_root(_create(command, [use]).user, site):
        return Line("later", use.typed, ROOT_INSIDE, "identity")
    if unit == network.MODE and model.units(_create(command, [use])).get(unit) in site.network:
        return Line("passes", use.typed, "the services that the site lists for it, and nothing else", "network")
    if unit not in ROWS or (row := ROWS[unit]).action in ("allow", "cap"):
        return Line("passes", use.typed, "", knobs.OWNERS.get(unit, ""))
    if row.action == "drop":
        return Line("dropped", use.typed, row.reason, knobs.OWNERS[unit])
    return Line("forced", use.typed, f"{_value(row, job, site)}: {filled(row.reason, site)}", knobs.OWNERS[unit])


def _of_mount(command: Command, use: Use, job: JobFacts, site: Settings) -> Line:
    """A bind mount is judged by what its path leads to, at the launch; as it is typed it can be guessed at."""
    for stage in _decided(command, [use], job, site).stages:
        if why := mounts.admit(stage, stage.source, "directory", job.uid):
            words = f"{why}, unless it is a link to another place. {mounts.OWN_WAY}"
            return Line("refused", f"-v {stage.source}", words, "mounts")
    return Line("later", use.typed, "opened as you at the launch, and judged by where it leads", "mounts")


def _together(command: Command, job: JobFacts, site: Settings) -> Iterator[Line]:
    """What the flags make together, and what nobody asked for."""
    sound = [use for use in command.uses if use.unit and not _refusal(command, _with_others(command, use), job, site)]
    if refusal := _refusal(command, sound, job, site):
        yield Line("refused", refusal.what, _rule(refusal))
        return
    asked = {_unit(use) for use in command.uses}
    if _is_root(_create(command, sound).user, site):
        asked |= {"HostConfig.GroupAdd", userns.MODE}  # root inside has no groups of the user's, and is remapped
    for name in knobs.KNOBS:
        for row in knobs.rows(name):
            switched = not row.switch or site.container.readonly_root
            if row.action == "force" and row.unit == unit_of(row.unit) and row.unit not in asked and switched:
                yield Line("forced", SHOWN.get(row.unit, f"{flag(row.unit)} {_value(row, job, site)}"),
                           filled(row.reason, site), name)  # fmt: skip
    if "HostConfig.PidsLimit" not in asked:
        most = _decided(command, sound, job, site).fields["HostConfig.PidsLimit"]
        yield Line("forced", f"--pids-limit {most}", "or the job's own figure where that is less", "pids")
    if "HostConfig.Memory" not in asked:
        yield Line("forced", "--memory", "the job's own limit", "resources")
    yield Line("later", f"image {command.subject}", "whether it lies on the node; its VOLUMEs become tmpfs", "images")


def _value(row: Row, job: JobFacts, site: Settings) -> str:
    text = filled(row.value, site).replace("<uid>", str(job.uid)).replace("<gid>", str(job.gid))
    text = text.replace("<groups>", ",".join(map(str, job.groups)) or "(none)").replace("<cgroup>", job.cgroup)
    if text.startswith("["):
        text = ",".join(json.loads(text))
    return text if len(text) <= 40 else f"{text[:39]}…"


def _of_request(command: Command) -> Line:
    name = command.verb if command.verb in REQUESTS else command.verb.partition(" ")[0]
    if name not in REQUESTS:
        return Line("unknown", f"docker {command.verb}".rstrip(), "not a command that is known here")
    method, _, path = REQUESTS[name].partition(" ")
    try:
        routes.find(Request(method, None, path))
    except Refused as refusal:
        return Line("refused", f"docker {name}", _rule(refusal))
    return Line("passes", f"docker {name}", "for what is the job's own")


def _create(command: Command, uses: Sequence[Use]) -> model.Create:
    body = command.body(uses) | {"Image": command.subject, "Cmd": list(command.arguments)}
    decoded: model.Create = model.decode(json.dumps(body).encode(), model.Create)
    return decoded


def _decided(command: Command, uses: Sequence[Use], job: JobFacts, site: Settings) -> knobs.Decision:
    return knobs.decide(_create(command, uses), job, site)


def _refusal(command: Command, uses: Sequence[Use], job: JobFacts, site: Settings) -> HooksError | None:
    try:
        if command.verb == "exec":
            data = json.dumps(command.body(uses) | {"Cmd": list(command.arguments)}).encode()
            wanted: model.ExecCreate = model.decode(data, model.ExecCreate)
            root = _is_root(wanted.user, site)  # then its container may be root's
            execs.create(wanted, identity.ROOT if root else f"{job.uid}:{job.gid}")
        else:
            _decided(command, uses, job, site)
    except HooksError as error:
        return error
    return None


def _is_root(user: str | None, site: Settings) -> bool:
    return user in identity.ROOTS and site.container.root == "remap"


def _rule(error: HooksError) -> str:
    return str(error).removeprefix(error.what).lstrip(": ")


# -- the verb --------------------------------------------------------------------------------------


def main(words: Sequence[str], partition: str, *, as_json: bool) -> int:
    """Print it; 1 where the command would be refused. Raises HooksError where the command cannot be read."""
    line = words[0] if len(words) == 1 else shlex.join(words)
    try:
        # As the shell would have done it, had the command not come in quotes.
        command = commandline.read([os.path.expandvars(word) for word in shlex.split(line)], os.getcwd())
    except ValueError as error:
        raise HooksError("explain", f"the command cannot be read ({error})", "Put it in quotes.") from None
    try:
        site, whose = config.load(keep=False), "by this node's configuration"
    except HooksError as error:
        site, whose = Settings(), f"by the defaults, as the node's configuration cannot be read ({error})"
    site = site.of_partition(partition or os.environ.get("SLURM_JOB_PARTITION", ""))
    said = explain(command, asker(site), site)
    refused = any(one.action in ("refused", "unknown") for one in said)
    if as_json:
        print(json.dumps({"command": line, "refused": refused, "lines": [asdict(one) for one in said]}, indent=2))
    else:
        print("\n".join(told(said, site, whose, refused=refused)))
    return 1 if refused else 0


def asker(site: Settings) -> JobFacts:
    """The asking user in a job that is not there yet."""
    groups = tuple(os.getgroups())
    return JobFacts(
        "", 0, os.getuid(), os.getgid(), groups, "the job's own", "", site.job.pids, gpus=None, remapped=ASSUMED
    )


TITLES = {
    "unknown": "Not known",
    "refused": "Refused",
    "forced": "Ours, whatever is asked",
    "dropped": "Without effect",
    "passes": "As you ask",
    "client": "The client's own",
    "later": "Decided at the launch",
}


def told(said: Sequence[Line], site: Settings, whose: str, *, refused: bool) -> Iterator[str]:
    """The lines for a person, what is refused first."""
    for action, title in TITLES.items():
        lines = [line for line in said if line.action == action]
        if lines:
            yield f"{title}:"
        for line in lines:
            words = f"{line.what}: {line.words}" if line.words else line.what
            yield f"  {words}{f' ({line.knob})' if line.knob else ''}"
    verdict = "would be refused" if refused else "would run, as far as can be told beforehand"
    yield with_help(Refused(f"It {verdict}, {whose}."), site.site.help if refused else "")
