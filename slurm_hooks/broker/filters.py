# SPDX-License-Identifier: Apache-2.0
"""The filters of `docker ps`, `docker events` and `docker container prune`: rebuilt, and never without the job's label.

Each filter of moby (daemon/list.go, daemon/events/filter.go) is named here; what is not is refused in moby's words.
`before` and `since` name a container, which moby looks up among all of the node: it is looked up among the job's
first, so that another job's is not there. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from slurm_hooks.errors import BadRequest, Refused

Filters = dict[str, list[str]]

LISTED = (
    "ancestor", "exited", "expose", "health", "id", "is-task", "isolation", "label", "publish", "status", "volume",
)  # fmt: skip
OURS = ("network",)  # dockerd knows none by the site's names, and nothing of `none`: the broker looks itself
REFERENCES = ("before", "since")
WATCHED = ("event", "image", "label", "scope")
# Of events that are not a container's: none of them is a job's.
FOREIGN = ("config", "daemon", "network", "node", "plugin", "secret", "service", "volume")


def decoded(text: str) -> Filters:
    """The `filters` parameter in both of moby's spellings, {"k": {"v": true}} and {"k": ["v"]}. Raises BadRequest."""
    try:
        asked = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise BadRequest("invalid filter", "not JSON") from None
    found: Filters = {}
    for name, values in asked.items() if isinstance(asked, dict) else ():
        chosen = [key for key, on in values.items() if on] if isinstance(values, dict) else values
        if not isinstance(chosen, list) or not all(isinstance(value, str) for value in chosen):
            raise BadRequest(f"invalid filter '{name[:40]}'")
        if chosen:
            found[name] = chosen
    return found


def for_list(asked: Filters, own_label: str, name_prefix: str, id_of: Callable[[str], str]) -> Filters:
    """Of `docker ps`. `id_of` is the full id of a container of the job's; what it raises, and BadRequest, is raised."""
    rebuilt: Filters = {}
    for name, values in asked.items():
        if name == "name":
            rebuilt[name] = [_of_own_name(value, name_prefix) for value in values]
        elif name in REFERENCES:
            rebuilt[name] = [id_of(value) for value in values]
        elif name in LISTED:
            rebuilt[name] = values
        elif name not in OURS:
            raise BadRequest(f"invalid filter '{name[:40]}'")
    return rebuilt | {"label": [*rebuilt.get("label", []), own_label]}


def for_events(asked: Filters, own_label: str, name_prefix: str) -> Filters:
    """Of `docker events`: a container's, of the job, whatever else is asked for. Raises BadRequest."""
    rebuilt: Filters = {"type": ["container"]}
    labels = [own_label]
    for name, values in asked.items():
        if name == "container":
            # moby compares with the id and with the name, whole or its beginning.
            rebuilt[name] = [*values, *(name_prefix + value.removeprefix("/") for value in values)]
        elif name == "label":
            labels += values
        elif name in WATCHED:
            rebuilt[name] = values
        elif name in FOREIGN or (name == "type" and "container" not in values):
            # moby wants every label of the list, and no container bears this key twice: nothing is ever told.
            labels.append(f"{own_label.partition('=')[0]}=none")
        elif name != "type":
            raise BadRequest(f"invalid filter '{name[:40]}'")
    return rebuilt | {"label": labels}


def for_prune(asked: Filters, own_label: str) -> Filters:
    """Of the list whose containers `docker container prune` removes: those that do not run. Raises Refused."""
    for name in asked:
        if name not in ("label", "label!"):
            raise Refused(
                f"docker container prune --filter {name[:40]}", "only label is offered in a job", "Use docker rm."
            )
    return {"status": ["created", "exited", "dead"], "label": [*asked.get("label", []), own_label]}


def bears_all(labels: Mapping[str, str], wanted: list[str]) -> bool:
    """Has a container every `key` and `key=value` of a list? (moby's MatchKVList; an empty list says nothing)"""
    pairs = [label.partition("=") for label in wanted]
    return bool(pairs) and all(
        key in labels and (not separator or labels[key] == value) for key, separator, value in pairs
    )


def _of_own_name(expression: str, name_prefix: str) -> str:
    """A user's expression for names, behind our prefix.

    moby searches it in the whole name, /NAME, so an alternative that begins with ^ or / is anchored behind the prefix,
    and another may match anywhere behind it. A `^` deeper inside matches nothing, and finds less than it would at home.
    """
    own = f"^/?{re.escape(name_prefix)}"
    return "|".join(
        own + ("" if one[:1] in ("^", "/") else ".*") + f"(?:{one.removeprefix('^').removeprefix('/')})"
        for one in _alternatives(expression)
    )


def _alternatives(expression: str) -> list[str]:
    """The parts between the `|` that stand outside of groups, classes and escapes."""
    parts, depth, in_class, escaped = [""], 0, False, False
    for character in expression:
        if character == "|" and not (depth or in_class or escaped):
            parts.append("")
            continue
        if not escaped:
            in_class = character == "[" or (in_class and character != "]")
            depth += 0 if in_class else (character == "(") - (character == ")")
        escaped = character == "\\" and not escaped
        parts[-1] += character
    return parts
