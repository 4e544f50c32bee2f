# SPDX-License-Identifier: Apache-2.0
"""Every name that dockerd reads of a request has one owner, or is refused (design.md, "Every field has one owner").

The names are moby's own, v1.40 to the newest: tests/data/moby-api.json.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from slurm_hooks import knobs
from slurm_hooks.broker import model, routes
from slurm_hooks.broker.http1 import Request
from slurm_hooks.errors import BadRequest, Refused
from slurm_hooks.knobs import execs, flags
from slurm_hooks.knobs.contract import unit_of
from tests.unit.policy import JOB, MOBY, SITE, cli, decide

SECURITY = "HostConfig.SecurityOpt:"
FIELDS = {
    *(name for name in model.Create.__struct_encode_fields__ if name != "HostConfig"),
    *(f"HostConfig.{name}" for name in model.HostConfig.__struct_encode_fields__ if name != "SecurityOpt"),
}
OWNED = [unit for knob in knobs.KNOBS.values() for unit in knob.OWNS]
ROWS = {row.unit: row for name in knobs.KNOBS for row in knobs.rows(name)}
PARTS = sorted(set(MOBY["create"]) - {"HostConfig", "HostConfig.SecurityOpt"})
ENDPOINTS = sorted({name.partition("?")[0] for name in MOBY["endpoints"]})
PARAMETERS = sorted(name for name in MOBY["endpoints"] if "?" in name)
# docker-py sends these beside what dockerd reads; dockerd passes over them.
BESIDE_MOBY = {"ExecCreate.Container", "ExecCreate.Detach"}


def find(endpoint: str, **query: str) -> routes.Match:
    method, _, path = endpoint.partition(" ")
    return routes.find(Request(method, (1, 44), path.replace("{}", "name"), query))


def test_no_unit_has_two_owners() -> None:
    assert [unit for unit, owners in Counter(OWNED).items() if owners > 1] == []


def test_no_part_has_two_rows() -> None:
    every = [row.unit for name in knobs.KNOBS for row in knobs.rows(name)]
    assert [unit for unit, rows in Counter(every).items() if rows > 1] == []


@pytest.mark.parametrize("part", PARTS)
def test_a_field_of_moby_is_known_and_owned(part: str) -> None:
    assert unit_of(part) in FIELDS
    assert unit_of(part) in knobs.OWNERS


@pytest.mark.parametrize("part", PARTS)
def test_a_field_of_moby_has_a_row_or_lies_in_one_that_has(part: str) -> None:
    whole = part
    while whole not in ROWS and whole:
        whole = whole.rpartition(".")[0].removesuffix("[]") if "." in whole else ""
        whole = whole if whole in ROWS or not whole.endswith("{}") else whole.removesuffix("{}")
    assert whole in ROWS


@pytest.mark.parametrize("key", MOBY["security-options"])
def test_a_security_option_of_moby_is_owned(key: str) -> None:
    assert f"{SECURITY}{key}" in knobs.OWNERS


def test_a_security_option_that_moby_does_not_know_is_refused_by_its_flag() -> None:
    with pytest.raises(Refused, match=r"^--security-opt other=a: not offered in a job's container\. Leave it out\.$"):
        decide(cli(HostConfig_SecurityOpt=["other=a"]))


def test_the_model_has_no_field_that_moby_never_had() -> None:
    assert {field for field in FIELDS if field not in MOBY["create"]} == set()


def test_every_owned_unit_is_a_field_of_the_model() -> None:
    assert [unit for unit in OWNED if unit not in FIELDS and not unit.startswith(SECURITY)] == []


@pytest.mark.parametrize(("body", "prefix"), [("exec-create", execs.CREATE), ("exec-start", execs.START)])
def test_an_execs_fields_are_moby_s_and_each_has_a_row(body: str, prefix: str) -> None:
    structs: dict[str, Any] = {execs.CREATE: model.ExecCreate, execs.START: model.ExecStart}
    known = {f"{prefix}.{name}" for name in structs[prefix].__struct_encode_fields__}
    rows = {row.unit for row in execs.ROWS if row.unit.startswith(f"{prefix}.")}
    moby = {f"{prefix}.{name}" for name in MOBY[body]}
    assert known == rows
    assert moby <= known <= moby | BESIDE_MOBY


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_endpoint_of_moby_is_served_or_refused_with_words(endpoint: str) -> None:
    try:
        match = find(endpoint)
    except Refused as refusal:
        assert refusal.why and refusal.todo
    else:
        assert match.route.method == endpoint.partition(" ")[0]


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_query_parameter_of_moby_is_in_its_row_or_refused(parameter: str) -> None:
    endpoint, _, name = parameter.partition("?")
    try:
        route = find(endpoint).route
    except Refused:
        return  # the whole endpoint is
    if name not in route.query:
        with pytest.raises(Refused, match=f": {name}=x: "):
            find(endpoint, **{name: "x"})


@pytest.mark.parametrize("route", routes.ROUTES, ids=lambda route: f"{route.method} {route.template}")
def test_a_parameter_of_a_row_is_moby_s_and_has_a_form(route: routes.Route) -> None:
    for name, form in route.query.items():
        assert form
        if not route.template.startswith("/slurm-hooks/"):
            place = f"{route.method} {route.template}".replace("{id}", "{}").replace("{image}", "{}")
            assert f"{place}?{name}" in MOBY["endpoints"]
        if form != routes.ANY:
            with pytest.raises(BadRequest):
                find(f"{route.method} {route.template}".replace("{id}", "{}").replace("{image}", "{}"), **{name: "\n"})


@pytest.mark.parametrize("name", [*knobs.KNOBS, "execs"])
def test_a_knob_says_what_it_stops_and_what_it_costs(name: str) -> None:
    text = (execs if name == "execs" else knobs.KNOBS[name]).__doc__ or ""
    assert all(word in text for word in ("Stops:", "Costs:", "Docker:"))


@pytest.mark.parametrize("unit", [unit for unit in OWNED if unit in flags.FLAGS])
def test_a_knob_names_the_flags_that_it_answers_for(unit: str) -> None:
    text = knobs.KNOBS[knobs.OWNERS[unit]].__doc__ or ""
    words = [word for word in flags.flag(unit).replace(",", " ").split() if word.startswith("-")]
    short = {"--env": "-e", "--workdir": "-w", "--health-cmd": "--health-"}
    assert [word for word in words if word not in text and short.get(word, word) not in text] == []


@pytest.mark.parametrize("name", knobs.KNOBS)
def test_a_knob_speaks_only_of_what_it_owns(name: str) -> None:
    knob = knobs.KNOBS[name]
    answer = knob.confine({"Image": "img"} if name == "images" else {}, JOB, SITE)
    assert set(answer.fields) <= set(knob.OWNS)
    assert {unit_of(row.unit) for row in knobs.rows(name)} == set(knob.OWNS)
