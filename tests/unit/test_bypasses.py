# SPDX-License-Identifier: Apache-2.0
"""Bodies that have led others past their policy (docker-api-policy.md, C5): none leads past ours."""

from __future__ import annotations

import json

import pytest

from slurm_hooks.broker import model
from slurm_hooks.errors import BadRequest
from tests.unit.policy import decide, sent


@pytest.mark.parametrize(
    "body",
    [
        '{"Image":"img","hostconfig":{"Privileged":true}}',
        '{"Image":"img","HOSTCONFIG":{"Privileged":true}}',
        '{"Image":"img","Ho\u017ftConfig":{"Privileged":true}}',
        '{"Image":"img","Ho\\u017ftConfig":{"Privileged":true}}',
        '{"Image":"img","Host_Config":{"Privileged":true}}',
        '{"Image":"img","Host-Config":{"Privileged":true}}',
        '{"Image":"img","HostConfig":{"pRIVILEGED":true}}',
        '{"Image":"img","HostConfig":{"privileged":true}}',
        '{"Image":"img","HostConfig":{"Cap\u017fAdd":["ALL"]}}',
        '{"Image":"img","HostConfig":{"CgroupnsMode":"private","CgroupNSMode":"host"}}',
        '{"Image":"img","user":"0"}',
    ],
    ids=["lower", "upper", "long s", "escaped long s", "underscore", "dash", "inner mixed", "inner lower",
         "inner long s", "inner other case beside", "outer lower"],
)  # fmt: skip
def test_a_key_in_another_case_is_refused(body: str) -> None:
    with pytest.raises(BadRequest, match="unknown field"):
        decide(body.encode())


def test_an_escaped_key_is_the_key_that_it_spells() -> None:
    wanted = model.decode(b'{"Image":"img","H\\u006fstConfig":{"Privileged":true}}', model.Create)
    assert wanted.host_config.privileged is True  # and so it is judged


@pytest.mark.parametrize(
    "body",
    [
        b'{"Image":"img","HostConfig":{"Privileged":true},"HostConfig":{"Memory":67108864}}',
        b'{"Image":"img","HostConfig":{"Privileged":true,"Privileged":false}}',
        b'{"Image":"img","User":"0","User":""}',
    ],
    ids=["object", "inner", "outer"],
)
def test_a_key_given_twice_counts_once_and_is_written_once(body: bytes) -> None:
    # Go would merge both objects into one; what dockerd gets is written anew from the last.
    text = json.dumps(sent(body))
    pairs: list[list[str]] = []
    json.loads(text, object_pairs_hook=lambda found: pairs.append([key for key, _ in found]))
    assert all(len(keys) == len(set(keys)) for keys in pairs)
    body_sent = json.loads(text)
    assert body_sent["HostConfig"]["Privileged"] is False
    assert body_sent["User"] == "1001:1002"


def test_the_last_of_two_keys_is_judged() -> None:
    with pytest.raises(Exception, match=r"^--privileged: "):
        decide(b'{"Image":"img","HostConfig":{"Privileged":false},"HostConfig":{"Privileged":true}}')


@pytest.mark.parametrize(
    "body",
    [
        b'{"Image":"img"}{"HostConfig":{"Privileged":true}}',
        b'{"Image":"img"} null',
        b'{"Image":"img"}\x00',
        b'\xef\xbb\xbf{"Image":"img"}',
        '{"Image":"img"}'.encode("utf-16"),
        b'{"Image":"img\\u0000"}',
        b'{"Image":"img","Cmd":["\\ud800"]}',
        b'{"Image":"img","Cmd":["\xff"]}',
        b'{"Image":"img","HostConfig":{"Memory":NaN}}',
        b'{"Image":"img","HostConfig":{"Sysctls":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b"[]",
        b"null",
        b'"img"',
        b"{",
    ],
    ids=["second document", "null behind", "NUL behind", "BOM", "UTF-16", "NUL", "surrogate", "not UTF-8", "NaN",
         "deep", "list", "null", "string", "cut short"],
)  # fmt: skip
def test_a_body_that_is_not_one_clean_document_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^request body: "):
        decide(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"Image":"img","HostConfig":{"Privileged":1}}',
        b'{"Image":"img","HostConfig":{"Privileged":"true"}}',
        b'{"Image":"img","HostConfig":{"PidsLimit":"0"}}',
        b'{"Image":"img","HostConfig":{"PidsLimit":true}}',
        b'{"Image":"img","HostConfig":{"CapAdd":"ALL"}}',
        b'{"Image":"img","HostConfig":[]}',
        b'{"Image":"img","Cmd":"sh -c id"}',
        b'{"Image":["img"]}',
    ],
)
def test_a_value_of_another_type_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^request body: "):
        decide(body)


@pytest.mark.parametrize("into", [model.ExecCreate, model.ExecStart])
def test_exec_bodies_are_closed_too(into: type) -> None:
    with pytest.raises(BadRequest, match="unknown field"):
        model.decode(b'{"tty":true}', into)
