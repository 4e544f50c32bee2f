# SPDX-License-Identifier: Apache-2.0
"""slurm-hooks.toml(5): types, bounds and defaults from settings.py, and what each is from the table in operators.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from msgspec import Meta, Struct, inspect

from slurm_hooks import settings
from tests.pages import roff
from tests.pages.roff import bold, example, marked, plain, section, slanted

ROW = re.compile(r"^\| `([a-z_.]+)` \| ([^|]+) \| (.*) \|$", re.MULTILINE)
# What operators.md says elsewhere, in sentences.
OWN = {
    "partition.NAME.pids": "`job.pids` of the partition's jobs",
    "network.NAME.reach": "services that a job in this network reaches: `license.example.org:27000/tcp`, "
    "`10.1.2.3:5000-5010/tcp`, `10.0.0.0/24:53/udp`. IPv4 only; names are resolved by the node",
}
ON_TOP = ("partition.NAME.container.environment", "partition.NAME.mounts.deny")
# What a text is, by the name that settings.py gives its pattern: a place, a registry, a repository, …
KINDS = {
    meta.pattern: name.lower()
    for name, kind in vars(settings).items()
    if get_origin(kind) is Annotated
    for meta in get_args(kind)[1:]
    if isinstance(meta, Meta) and meta.pattern and name != "Prefix"
}
OTHERS = ("slurm-hooks", "slurm-hooks-config", "slurm-hooks-policy")
ABOUT = (
    "TOML. Nothing here opens the wall; it moves within it. What is not said has its default, an unknown key is an "
    "error, and so is a value out of its bounds. The file is root's alone to write.",
    "`slurm-hooks config` validates the file and prints what holds; `slurm-hooks check` names each choice that weakens "
    "a promise. Jobs that start after a change see it, and so do containers. While the file is broken no container "
    "starts, and jobs run with the limits of the last good one.",
    "Sections in quotes are those of /usr/share/doc/slurm-hooks/operators.md.",
)
EXAMPLE = """[job]
pids = 2048
[mounts]
allow = ["/home", "/scratch"]
[images]
registries = ["registry.example.org:5000"]
[partition.debug]
pids = 512"""


def page(operators: str) -> str:
    """The page; `operators` is the text of docs/operators.md."""
    rows = {name: (words, f" (default: {marked(default)})") for name, default, words in ROW.findall(operators)}
    rows |= {name: (words, "") for name, words in OWN.items()}
    tables = [
        section(plain(f"[{table}]"), marked(type_.cls.__doc__ or ""), roff.items(_items(table, type_, rows)))
        for table, type_ in tables_of(settings.Settings)
    ]
    return roff.page(
        "slurm-hooks.toml", 5, "what a site lets the containers of Slurm jobs do",
        section("SYNOPSIS", bold("/etc/slurm-hooks/slurm-hooks.toml")),
        section(
            "DESCRIPTION",
            *map(marked, ABOUT),
        ),
        *tables,
        section("EXAMPLES", example(*EXAMPLE.splitlines())),
        section("SEE ALSO", ",\n".join(f"{bold(name)}(1)" for name in OTHERS)),
    )  # fmt: skip


def tables_of(struct: type[Struct], above: str = "") -> Iterator[tuple[str, inspect.StructType]]:
    """Each table of the file by its whole name, `NAME` for one that the site chooses, in the order of settings.py."""
    for field in inspect.type_info(struct).fields:  # type: ignore[attr-defined]
        inner, name = field.type, f"{above}{field.name}"
        if isinstance(inner, inspect.DictType):
            inner, name = inner.value_type, f"{name}.NAME"
        if isinstance(inner, inspect.StructType):
            yield name, inner
            yield from tables_of(inner.cls, f"{name}.")


def settings_of(table: inspect.StructType) -> Iterator[inspect.Field]:
    """The settings of a table, without the tables within it."""
    return (field for field in table.fields if not isinstance(field.type, inspect.StructType))


def _items(table: str, type_: inspect.StructType, rows: dict[str, tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for field in settings_of(type_):
        name = f"{table}.{field.name}"
        site = name.removeprefix("partition.NAME.")
        how = "On top" if name in ON_TOP else "In the place"
        words, default = rows[name] if name == site or name in OWN else (f"{how} of the site's `{site}`", "")
        yield f"{bold(field.name)} = {slanted(_kind(field.type))}{default}", marked(_sentence(words))


def _sentence(text: str) -> str:
    text = text.replace("see below", 'see "What a site may set"')
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _kind(type_: Any) -> str:
    """A type in words."""
    match type_:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            what = "integer" if isinstance(type_, inspect.IntType) else "number"
            return f"{what} from {type_.ge} to {type_.le}"
        case inspect.LiteralType():
            return " or ".join(f'"{value}"' for value in type_.values)
        case inspect.VarTupleType():
            of = _kind(type_.item_type)
            return f"list of {of[:-1] + 'ies' if of.endswith('y') else of + 's'}"
        case inspect.DictType():
            return f"table of {_kind(type_.key_type)} = {_kind(type_.value_type)}"
        case inspect.UnionType():
            return _kind(type_.types[0])
        case inspect.StrType():
            bound = f" of at most {type_.max_length} characters" if type_.max_length else ""
            return KINDS.get(type_.pattern or "", "text") + bound
    raise TypeError(type_)
