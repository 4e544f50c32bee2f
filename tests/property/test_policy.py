# SPDX-License-Identifier: Apache-2.0
"""For every document: refused in words, or confined in every respect as the one who obeys it will read it."""

from __future__ import annotations

import json
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_hooks import knobs
from slurm_hooks.broker import model
from slurm_hooks.errors import HooksError
from slurm_hooks.knobs import proc, seccomp
from tests.unit.policy import JOB, SITE, cli, sent

bounded = settings(max_examples=400, derandomize=True, deadline=None, database=None)

# -- Go's decoder, in twenty lines -----------------------------------------------------------------

KNOWN = {*model.Create.__struct_encode_fields__, *model.HostConfig.__struct_encode_fields__}
NOTHING: tuple[Any, ...] = (None, "", [], {}, 0, False)


def folded(key: str) -> str:
    """encoding/json's fold: Unicode SimpleFold, where the long s is an s and the Kelvin sign a k; v2 skips _ and -."""
    return key.replace("\u017f", "s").replace("\u212a", "k").replace("_", "").replace("-", "").lower()


class Go:
    """A body as dockerd reads it: names fold, the last one wins, objects of one name are merged into one struct."""

    def __init__(self, text: str) -> None:
        self.top: dict[str, Any] = {}
        self.host: dict[str, Any] = {}
        for key, value in json.loads(text, object_pairs_hook=list):
            if folded(key) == "hostconfig":
                self.host |= {folded(inner): self._plain(inner_value) for inner, inner_value in value or []}
            else:
                self.top[folded(key)] = self._plain(value)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, list) and value and all(isinstance(item, tuple) for item in value):
            return {key: self._plain(inner) for key, inner in value}
        return [self._plain(item) for item in value] if isinstance(value, list) else value


def check(text: str) -> None:
    """Every force and deny of the policy, as dockerd would obey it."""
    body = Go(text)
    top, host = body.top, body.host
    assert top["user"] == f"{JOB.uid}:{JOB.gid}"
    assert top["labels"]["slurm-hooks.job"] == JOB.key
    assert top["labels"]["slurm-hooks.nonce"] == JOB.nonce
    assert top["healthcheck"] == {"Test": ["NONE"]}
    assert host["privileged"] is False
    assert host["capdrop"] == ["ALL"]
    assert sorted(host["securityopt"]) == [
        "apparmor=slurm-hooks-container", "no-new-privileges=true", f"seccomp={seccomp.PROFILES[SITE.mounts.sockets]}",
    ]  # fmt: skip
    assert host["networkmode"] == "none"
    assert host["usernsmode"] == "host"
    assert host["cgroupparent"] == JOB.cgroup
    assert host["cgroupnsmode"] == "private"
    assert host["ipcmode"] == "private"
    assert 1 <= host["pidslimit"] <= SITE.container.pids
    assert host["restartpolicy"]["Name"] == "no"
    assert host["readonlyrootfs"] is True
    assert host["logconfig"]["Type"] in ("json-file", "none")
    assert host["maskedpaths"] == list(proc.MASKED_PATHS)
    assert host["readonlypaths"] == list(proc.READONLY_PATHS)
    assert set(host["groupadd"]) <= {str(group) for group in JOB.groups}
    assert 0 < host["memory"] == host["memoryswap"] <= JOB.memory
    assert host.get("cpushares") or host.get("nanocpus")
    assert 0 <= (host.get("shmsize") or 0) <= JOB.memory
    limits = {limit["Name"]: limit["Hard"] for limit in host["ulimits"]}
    assert limits["rtprio"] == limits["nice"] == 0
    assert 0 <= limits["nofile"] <= JOB.limits["nofile"][1] and 0 <= limits["memlock"] <= JOB.limits["memlock"][1]
    for mount in host["mounts"]:
        assert mount["Type"] == "bind"
        assert mount["Source"].startswith("/stage/")
        assert mount["BindOptions"] == {"Propagation": "rprivate"}
    for options in host["tmpfs"].values():
        assert {"nosuid", "nodev"} <= set(options.split(","))
    assert {one["PathOnHost"] for one in host.get("devices") or ()} <= {
        "/dev/nvidia0",
        "/dev/nvidia2",
        "/dev/nvidiactl",
    }
    for name in ("capadd", "devicerequests", "devicecgrouprules", "binds", "volumesfrom", "volumedriver",
                 "pidmode", "utsmode", "sysctls", "runtime", "annotations", "cgroup", "links",
                 "portbindings", "storageopt", "oomscoreadj", "oomkilldisable"):  # fmt: skip
        assert host.get(name) in NOTHING
    for name in ("volumes", "networkingconfig", "macaddress", "onbuild"):
        assert top.get(name) in NOTHING
    assert {*top, *host} <= {folded(name) for name in KNOWN}


# -- documents -------------------------------------------------------------------------------------

WORDS = ["", "host", "none", "private", "container:x", "0", "1001", "1001:1002", "ALL", "img", "/a:/b", "/a:/b:ro",
         "vol:/b", "/", "/proc", "/data", "unconfined", "seccomp=unconfined", "no-new-privileges", "label:disable",
         "a=b", "slurm-hooks.job", "always", "no", "Type", "Name", "bind", "Source", "Target", "BindOptions",
         "EndpointsConfig", "default", "size=1m", "suid", "syslog", "\u017f", "\x00", "a\nb"]  # fmt: skip
text = st.sampled_from(WORDS) | st.text(max_size=8)
number = st.sampled_from([0, 1, -1, 1024, 1025, 2**31, 2**63, -(2**63)]) | st.integers()
anything = st.recursive(
    st.none() | st.booleans() | number | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
often = st.integers(0, 3)  # one in four says something strange
mount = st.fixed_dictionaries(
    {
        "Type": often.flatmap(lambda n: text if n == 3 else st.just("bind")),
        "Source": st.sampled_from(["/a", "/home/u"]) | text,
        "Target": st.sampled_from(["/b", "/c/"]) | text,
    },
    optional={
        "ReadOnly": st.booleans() | anything,
        "BindOptions": st.sampled_from([None, {}, {"Propagation": "rprivate"}, {"NonRecursive": True}]) | anything,
        "VolumeOptions": st.none() | anything,
        "Consistency": text,
    },
)


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type in the model, so that most documents get past the decoder."""
    if get_origin(hint) in (Union, UnionType):
        return st.one_of(*map(of_type, get_args(hint)))
    if get_origin(hint) is list:
        return st.lists(of_type(get_args(hint)[0]), max_size=3)
    if get_origin(hint) is dict:
        return st.dictionaries(text, of_type(get_args(hint)[1]), max_size=3)
    simple = {str: text, int: number, bool: st.booleans(), type(None): st.none()}
    return simple.get(hint, anything)


def fields_of(struct: type) -> dict[str, st.SearchStrategy[Any]]:
    """A strategy for each field, by its name in JSON."""
    hints = get_type_hints(struct)
    names: tuple[str, ...] = getattr(struct, "__struct_encode_fields__")  # noqa: B009 - unknown to type[Struct]
    return {name: of_type(hints[field]) for name, field in zip(names, struct.__annotations__, strict=True)}


HOST = {**fields_of(model.HostConfig), "Mounts": st.lists(mount, max_size=2) | st.none()}
TOP = {name: values for name, values in fields_of(model.Create).items() if name != "HostConfig"}


def some_of(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    one = st.sampled_from(sorted(fields)).flatmap(lambda name: st.tuples(st.just(name), fields[name]))
    return st.lists(one, max_size=3).map(dict)


def outcome(document: Any) -> str:
    """Judge a document: "refused" or "confined"; whatever else happens fails the test."""
    try:
        body = sent(json.dumps(document).encode())
    except HooksError as error:
        line = str(error)
        assert line.isprintable()
        return "refused"
    check(json.dumps(body))
    return "confined"


@bounded
@given(top=some_of(TOP), host=some_of(HOST))
def test_a_request_with_some_wishes(top: dict[str, Any], host: dict[str, Any]) -> None:
    body = cli()
    outcome({**body, **top, "HostConfig": {**body["HostConfig"], **host}})


@bounded
@given(host=some_of({name: values for name, values in HOST.items() if f"HostConfig.{name}" in knobs.OWNERS}))
def test_a_request_with_wishes_that_have_an_owner(host: dict[str, Any]) -> None:
    body = cli()
    outcome({**body, "HostConfig": {**body["HostConfig"], **host}})


@bounded
@given(config=anything)
def test_a_request_with_any_network(config: Any) -> None:
    outcome(cli(NetworkingConfig=config))
    outcome(cli(NetworkingConfig={"EndpointsConfig": config}))
    outcome(cli(NetworkingConfig={"EndpointsConfig": {"default": config}}))


@bounded
@given(value=mount)
def test_a_request_with_any_mount(value: Any) -> None:
    outcome(cli(HostConfig_Mounts=[value]))


@bounded
@given(document=anything)
def test_any_document(document: Any) -> None:
    outcome(document)


def check_bytes(data: bytes) -> None:
    """A body of any bytes: refused in words, or confined."""
    try:
        body = sent(data)
    except HooksError as error:
        assert str(error).isprintable()
        return
    check(json.dumps(body))


@bounded
@given(data=st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    check_bytes(data)


def test_the_models_reader_sees_what_go_sees() -> None:
    text = '{"User":"0","user":"1","Ho\u017ftConfig":{"Privileged":true},"HostConfig":{"privileged":false,"Memory":1}}'
    body = Go(text)
    assert (body.top, body.host) == ({"user": "1"}, {"privileged": False, "memory": 1})


def test_the_documents_reach_both_ends() -> None:
    assert outcome(cli()) == "confined"
    assert outcome(cli(HostConfig_Privileged=True)) == "refused"
