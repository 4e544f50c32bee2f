# SPDX-License-Identifier: Apache-2.0
"""The closed models of what a client may send, and the units that knobs own. Pure.

Every field of moby's create body is named here (api/types/container/config.go,
hostconfig.go; v1.40 to v1.56, tests/data/moby-api.json), since the docker CLI sends each with its zero
value. A key that is not, or is written in another case, is refused by the
decoder: Go would fold `HostConfig` with a long s (U+017F) into `HostConfig`, so nothing is passed by
name that was not decoded by name. What was decoded is split into *units*; each
non-zero unit needs a knob that owns it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from slurm_hooks.errors import BadRequest

Strings = list[str] | None


class HostConfig(Struct, rename="pascal", forbid_unknown_fields=True):
    """moby's container.HostConfig. Types are moby's where a knob reads the field, open where none does."""

    binds: Strings = None
    container_id_file: Any = msgspec.field(default=None, name="ContainerIDFile")
    log_config: dict[str, Any] | None = None
    network_mode: str | None = None
    port_bindings: dict[str, Any] | None = None
    restart_policy: dict[str, Any] | None = None
    auto_remove: bool | None = None
    volume_driver: str | None = None
    volumes_from: Strings = None
    console_size: list[int] | None = None
    annotations: Any = None
    capabilities: Any = None  # of Docker 19.03 (API 1.40) alone
    cap_add: Strings = None
    cap_drop: Strings = None
    cgroupns_mode: str | None = None
    dns: Any = None
    dns_options: Any = None
    dns_search: Any = None
    extra_hosts: Any = None
    group_add: Strings = None
    ipc_mode: str | None = None
    cgroup: str | None = None
    links: Any = None
    oom_score_adj: int | None = None
    pid_mode: str | None = None
    privileged: bool | None = None
    publish_all_ports: bool | None = None
    readonly_rootfs: bool | None = None
    security_opt: Strings = None
    storage_opt: Any = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str | None = msgspec.field(default=None, name="UTSMode")
    userns_mode: str | None = None
    shm_size: int | None = None
    sysctls: Any = None
    runtime: str | None = None
    isolation: str | None = None
    cpu_shares: int | None = None
    memory: int | None = None
    nano_cpus: int | None = None
    cgroup_parent: str | None = None
    blkio_weight: Any = None
    blkio_weight_device: Any = None
    blkio_device_read_bps: Any = None
    blkio_device_write_bps: Any = None
    blkio_device_read_iops: Any = msgspec.field(default=None, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: Any = msgspec.field(default=None, name="BlkioDeviceWriteIOps")
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_realtime_period: Any = None
    cpu_realtime_runtime: Any = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    devices: list[Any] | None = None
    device_cgroup_rules: Any = None
    device_requests: list[Any] | None = None
    kernel_memory: Any = None
    kernel_memory_tcp: Any = msgspec.field(default=None, name="KernelMemoryTCP")
    memory_reservation: int | None = None
    memory_swap: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[dict[str, Any]] | None = None
    cpu_count: Any = None
    cpu_percent: Any = None
    io_maximum_iops: Any = msgspec.field(default=None, name="IOMaximumIOps")
    io_maximum_bandwidth: Any = msgspec.field(default=None, name="IOMaximumBandwidth")
    mounts: list[dict[str, Any]] | None = None
    masked_paths: Strings = None
    readonly_paths: Strings = None
    init: bool | None = None


class Create(Struct, rename="pascal", forbid_unknown_fields=True):
    """The body of POST /containers/create: container.Config with the two beside it."""

    hostname: str | None = None
    domainname: str | None = None
    user: str | None = None
    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    exposed_ports: Any = None
    tty: bool | None = None
    open_stdin: bool | None = None
    stdin_once: bool | None = None
    env: Strings = None
    cmd: Strings = None
    healthcheck: Any = None
    args_escaped: Any = None
    image: str | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str | None = None
    entrypoint: Strings = None
    network_disabled: bool | None = None
    mac_address: Any = None
    on_build: Any = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    shell: Any = None
    host_config: HostConfig | None = None
    networking_config: dict[str, dict[str, dict[str, Any] | None] | None] | None = None


class ExecCreate(Struct, rename="pascal", forbid_unknown_fields=True):
    """The body of POST /containers/{id}/exec."""

    user: str | None = None
    privileged: bool | None = None
    tty: bool | None = None
    console_size: list[int] | None = None
    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    detach: bool | None = None
    detach_keys: str | None = None
    env: Strings = None
    working_dir: str | None = None
    cmd: Strings = None
    container: str | None = None  # docker-py's; the path names the container


class ExecStart(Struct, rename="pascal", forbid_unknown_fields=True):
    """The body of POST /exec/{id}/start."""

    detach: bool | None = None
    tty: bool | None = None
    console_size: list[int] | None = None


class Credentials(Struct, forbid_unknown_fields=True):
    """What X-Registry-Auth holds and POST /auth gets: moby's registry.AuthConfig."""

    username: str = ""
    password: str = ""
    auth: str = ""  # both again, by old clients; says nothing to dockerd
    email: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


Units = dict[str, Any]


def decode(body: bytes, into: type[Any]) -> Any:
    """A body as its model.

    Raises:
        BadRequest: unknown or differently-cased key, wrong type, trailing data, a NUL, or too deep a nesting.
    """
    try:
        decoded = msgspec.json.decode(body or b"{}", type=into)
    except msgspec.ValidationError as error:
        raise BadRequest("request body", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest("request body", f"not JSON that can be trusted ({type(error).__name__})") from None
    if b"\\u0000" in body or b"\0" in body:
        raise BadRequest("request body", "a NUL character")  # C strings end there: kernel and runc would see less
    return decoded


def units(create: Create) -> Units:
    """The non-zero units of a create body, by name; SecurityOpt by its key."""
    found: Units = {}
    for name, value in _fields(create):
        if name == "HostConfig":
            for inner, inner_value in _fields(value) if value is not None else ():
                found[f"HostConfig.{inner}"] = inner_value
        else:
            found[name] = value
    options = found.pop("HostConfig.SecurityOpt", None) or []
    for option in options:
        key, tag_value = _security_option(option)
        if f"HostConfig.SecurityOpt:{key}" in found:
            raise BadRequest(f"--security-opt {key}", "given twice")
        found[f"HostConfig.SecurityOpt:{key}"] = tag_value
    return {name: value for name, value in found.items() if not is_zero(name, value)}


def _fields(struct: Any) -> list[tuple[str, Any]]:
    names = zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True)
    return [(encoded, getattr(struct, attribute)) for encoded, attribute in names]


def _security_option(option: str) -> tuple[str, str]:
    # moby takes "key=value" and, still, "key:value" (daemon_unix.go parseSecurityOpt).
    separator = "=" if "=" in option else ":"
    key, _, value = option.partition(separator)
    return key, value or "true"


# Zero values that are not empty: what the docker CLI sends when the user typed nothing.
ZEROS: dict[str, tuple[Any, ...]] = {
    "HostConfig.MemorySwappiness": (-1,),
    "HostConfig.ConsoleSize": ([0, 0],),
    "HostConfig.RestartPolicy": ({"Name": "", "MaximumRetryCount": 0}, {"Name": "no", "MaximumRetryCount": 0},
                                 {"Name": "no"}, {"Name": ""}),
    "HostConfig.LogConfig": ({"Type": "", "Config": {}}, {"Type": "", "Config": None}, {"Type": ""}),
    "NetworkingConfig": ({"EndpointsConfig": {}}, {"EndpointsConfig": None}),
}  # fmt: skip
# An empty list here is a wish: `--security-opt systempaths=unconfined` arrives as [].
EMPTY_MEANS_SOMETHING = ("HostConfig.MaskedPaths", "HostConfig.ReadonlyPaths")


def is_zero(unit: str, value: Any) -> bool:
    """Does the value say nothing? `0`, `""`, `false`, `null` and empty ones do, with the exceptions above."""
    if value is None:
        return True
    if unit in EMPTY_MEANS_SOMETHING:
        return False
    return not value or value in ZEROS.get(unit, ())
