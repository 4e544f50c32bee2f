# SPDX-License-Identifier: Apache-2.0
"""Makes moby-api.json anew from a clone of moby: python3 -m tests.data.moby_api CLONE > tests/data/moby-api.json

Facts only: the names of everything that dockerd's decoders and handlers read, with the API versions that have it.

- fields: of the Go structs that the bodies of create, exec create and exec start are decoded into;
- endpoints: the routes that are registered, and the query parameters that api/docs/ documents or a handler reads.

`since` is the first of VERSIONS that has it ("1.40" may be older), `until` the last, null for the newest.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

# The first release of each API version, and what moby's main branch calls the next.
VERSIONS = {
    "1.40": "v19.03.15", "1.41": "v20.10.27", "1.42": "v23.0.0", "1.43": "v24.0.0", "1.44": "v25.0.0",
    "1.45": "v26.0.0", "1.46": "v27.0.1", "1.47": "v27.2.0", "1.48": "v28.0.0", "1.49": "v28.1.0", "1.50": "v28.2.0",
    "1.51": "v28.3.0", "1.52": "docker-v29.0.0", "1.53": "docker-v29.2.0", "1.54": "docker-v29.3.0",
    "1.55": "docker-v29.6.0", "1.56": "HEAD",
}  # fmt: skip
# What each body is, by the structs that it is made of: prefix → (package, names; the first that there is).
BODIES: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "create": {
        "": ("container", ("Config",)),
        "HostConfig.": ("container", ("HostConfig",)),
        "HostConfig.LogConfig.": ("container", ("LogConfig",)),
        "HostConfig.RestartPolicy.": ("container", ("RestartPolicy",)),
        "HostConfig.Devices[].": ("container", ("DeviceMapping",)),
        "HostConfig.DeviceRequests[].": ("container", ("DeviceRequest",)),
        "HostConfig.Mounts[].": ("mount", ("Mount",)),
        "HostConfig.Mounts[].BindOptions.": ("mount", ("BindOptions",)),
        "HostConfig.Mounts[].VolumeOptions.": ("mount", ("VolumeOptions",)),
        "HostConfig.Mounts[].ImageOptions.": ("mount", ("ImageOptions",)),
        "HostConfig.Mounts[].TmpfsOptions.": ("mount", ("TmpfsOptions",)),
        "Healthcheck.": ("", ("HealthConfig", "HealthcheckConfig")),
        "NetworkingConfig.": ("network", ("NetworkingConfig",)),
        "NetworkingConfig.EndpointsConfig{}.": ("network", ("EndpointSettings",)),
        "NetworkingConfig.EndpointsConfig{}.IPAMConfig.": ("network", ("EndpointIPAMConfig",)),
    },
    "exec-create": {"": ("", ("ExecCreateRequest", "ExecOptions", "ExecConfig"))},
    # From 1.42 to 1.45 an ExecStartOptions lay beside ExecStartCheck, for the daemon's own use.
    "exec-start": {"": ("", ("ExecStartRequest", "ExecStartCheck", "ExecStartOptions"))},
}
STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.M | re.S)
FIELD = re.compile(r"^\t(\w+(?:, \w+)*)\s+[^\s/].*?(?:`json:\"([^\"]*)\"`)?\s*(?://.*)?$")
EMBEDDED = re.compile(r"^\t\*?(?:\w+\.)?(\w+)\s*(?://.*)?$")
ROUTE = re.compile(r"New(Get|Post|Put|Delete|Head|Options)Route\(\"([^\"]+)\", (?:\w+\.)*(\w+)")
FUNCTION = re.compile(r"^func \([^)]*\) (\w+)\(.*?^\}", re.M | re.S)
READS = re.compile(r"(?:Form\.(?:Get|Has)\(|FormValue\(|Form\[|Value\w*\(r, )\"([\w-]+)\"")
SECURITY = re.compile(r"case \"([\w-]+)\":|opt == \"([\w-]+)\"")


def git(clone: str, *arguments: str) -> str:
    """git's answer; "" where it has none."""
    return subprocess.run(["git", "-C", clone, *arguments], capture_output=True, text=True, check=False).stdout


def sources(clone: str, tag: str, *tops: str) -> Iterator[tuple[str, str]]:
    """(package, text) of the Go files below some directories."""
    for path in git(clone, "ls-tree", "-r", "--name-only", tag, *tops).splitlines():
        if path.endswith(".go") and not path.endswith("_test.go"):
            yield path.split("/")[-2], git(clone, "show", f"{tag}:{path}")


def structs(clone: str, tag: str) -> dict[tuple[str, str], str]:
    """(package, struct) → its lines; image-spec's HealthcheckConfig is of the container package by an alias."""
    specs = ("vendor/github.com/moby/docker-image-spec/specs-go/v1", "image/spec/specs-go/v1")
    return {
        (package, name): body
        for package, text in sources(clone, tag, "api/types", *specs)
        for name, body in STRUCT.findall(text)
    }


def names(found: dict[tuple[str, str], str], package: str, name: str) -> Iterator[str]:
    """The fields of a struct as they stand in JSON, those of embedded structs among them."""
    for line in found[package, name].splitlines():
        if embedded := EMBEDDED.match(line):
            if (package, embedded[1]) in found:
                yield from names(found, package, embedded[1])
        elif (field := FIELD.match(line)) and field[2] != "-":
            tagged = (field[2] or "").split(",")[0]
            yield from [tagged] if tagged else field[1].split(", ")


def fields(clone: str, tag: str, body: str) -> Iterator[str]:
    """Every field of a body, with its way down to it."""
    found = structs(clone, tag)
    for prefix, (package, choices) in BODIES[body].items():
        packages = (package,) if package else ("container", "types", "v1")
        keys = [(one, name) for name in choices for one in packages if (one, name) in found]
        for key in keys[:1]:
            yield from (prefix + name for name in names(found, *key))
    if body == "create":
        yield from ("HostConfig", "NetworkingConfig")  # beside container.Config in every version's CreateRequest


def security_options(clone: str, tag: str) -> Iterator[str]:
    """The keys of SecurityOpt that the daemon reads; `systempaths` is the client's own word for two other fields."""
    text = git(clone, "show", f"{tag}:daemon/daemon_unix.go")
    for match in SECURITY.finditer(text[text.index("func parseSecurityOpt(") :].partition("\n}\n")[0]):
        yield match[1] or match[2]


def endpoints(clone: str, tag: str, version: str) -> Iterator[str]:
    """`METHOD /path` and `METHOD /path?parameter`, by the routers and the documentation of that version."""
    documented = git(clone, "show", f"HEAD:api/docs/v{version}.yaml") or git(clone, "show", "HEAD:api/swagger.yaml")
    path = method = ""
    seen: dict[str, str] = {}
    for line in documented[documented.index("\npaths:") :].splitlines():
        if match := re.match(r"  (/\S*):", line):
            path = re.sub(r"\{[^}]*\}", "{}", match[1])
        elif match := re.match(r"    (get|post|put|delete|head):", line):
            method = match[1].upper()
            yield f"{method} {path}"
        elif match := re.match(r"      *(?:- )?(?:name|in): \"?([\w-]+)\"?", line):
            kind = "in" if "in:" in line else "name"
            seen = {"name": "", "in": ""} if line.lstrip().startswith("- ") else seen
            seen[kind] = match[1]
            if seen["name"] and seen["in"] == "query":
                yield f"{method} {path}?{seen['name']}"
    routers = list(sources(clone, tag, "api/server/router", "daemon/server/router"))
    for package, text in routers:
        bodies = {m[1]: m[0] for one, other in routers if one == package for m in FUNCTION.finditer(other)}
        for verb, template, handler in ROUTE.findall(text):
            prefix = "/debug" if package == "debug" and not template.startswith("/debug") else ""
            place = f"{verb.upper()} {prefix}" + re.sub(r"\{[^}]*\}", "{}", template)
            yield place
            yield from (f"{place}?{name}" for name in READS.findall(bodies.get(handler, "")))


def spans(read: Callable[[str, str], Iterator[str]]) -> dict[str, list[str | None]]:
    """name → [since, until], over all versions."""
    seen: dict[str, list[str]] = {}
    for version, tag in VERSIONS.items():
        for name in dict.fromkeys(read(version, tag)):
            seen.setdefault(name, []).append(version)
    newest = list(VERSIONS)[-1]
    return {name: [had[0], None if had[-1] == newest else had[-1]] for name, had in sorted(seen.items())}


def main(clone: str) -> None:
    """Print the data."""
    data: dict[str, dict[str, Any]] = {
        "source": {
            "repository": "https://github.com/moby/moby",
            "commit": git(clone, "rev-parse", "HEAD").strip(),
            "versions": VERSIONS,
            "read": "by tests/data/moby_api.py: api/types, daemon/daemon_unix.go, the routers, api/docs",
        },
        **{body: spans(lambda version, tag, body=body: fields(clone, tag, body)) for body in BODIES},  # type: ignore[misc]
        "security-options": spans(lambda version, tag: security_options(clone, tag)),
        "endpoints": spans(lambda version, tag: endpoints(clone, tag, version)),
    }
    lines = []
    for title, part in data.items():
        inner = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in part.items())
        lines.append(f" {json.dumps(title)}: {{\n{inner}\n }}")
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main(sys.argv[1])
