# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks check` on a node that is set up as docs/operators.md says, and on one that is not quite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.slurm import Cluster

ENABLE = "slurm-hooks-docker slurm-hooks-broker slurm-hooks-sweep.timer"
JSON = "/etc/docker/slurm-jobs.json"
KEEP = f"cp -p {JSON} /root/kept.json"
BACK = f"mv /root/kept.json {JSON}"
SET = f"""python3 -c "import json,sys; at='{JSON}'; said=json.load(open(at)); said.update(json.loads(sys.argv[1]))
json.dump(said, open(at, 'w'))" """
RESTART = "systemctl restart slurm-hooks-docker"
SSHD = "mkdir -p /run/sshd; ssh-keygen -A >/dev/null; /usr/sbin/sshd"
SSHD_AWAY = "kill $(cat /run/sshd.pid)"
PAM = "/etc/pam.d/sshd"


@dataclass(frozen=True)
class Broken:
    """A change of the node, the way back, and what `check` then finds."""

    change: str
    back: str
    names: set[str]


def drop_in(unit: str, text: str, names: set[str], restart: str = "") -> Broken:
    """A drop-in of a unit; `restart`: it is a matter of the running process too."""
    at = f"/run/systemd/system/{unit}.d"
    load = f"systemctl daemon-reload; {restart and 'systemctl restart ' + restart}"
    return Broken(f"mkdir -p {at}; printf '{text}' > {at}/x.conf; {load}", f"rm -r {at}; {load}", names)


REMOUNT = "mount --options-mode=ignore -t cgroup2 -o remount,nosuid,nodev,noexec,memory_recursiveprot"
MANAGER = "/sys/fs/cgroup/user.slice/user-1001.slice/user@1001.service"
OTHERWISE = {
    "hosts": ["unix:///run/slurm-hooks-docker/docker.sock", "tcp://127.0.0.1:2375"], "live-restore": False,
    "userland-proxy": True, "no-new-privileges": False, "debug": True, "experimental": True, "default-ulimits": {},
    "insecure-registries": ["registry.site:5000"], "exec-opts": ["native.cgroupdriver=systemd"],
}  # fmt: skip
PROFILE = "/etc/apparmor.d/slurm-hooks-container"
SITE = "/etc/slurm-hooks/slurm-hooks.toml"
# A look takes seconds on a small node, so what does not touch is changed together.
BROKEN = {
    "ways beside Slurm, files, settings": [
        Broken(
            "mv /etc/slurm/epilog.d/50-slurm-hooks /root/epilog", "mv /root/epilog /etc/slurm/epilog.d/50-slurm-hooks",
            {"hook-epilog"},
        ),
        Broken(f"{REMOUNT} cgroup2 /sys/fs/cgroup", f"{REMOUNT},nsdelegate cgroup2 /sys/fs/cgroup", {"nsdelegate"}),
        Broken("gpasswd -a ann docker", "gpasswd -d ann docker", {"docker-group"}),
        Broken("cron", "pkill -x cron", {"cron"}),
        Broken("atd", "pkill -x atd", {"at"}),
        Broken(
            "mkdir -p /var/lib/systemd/linger; touch /var/lib/systemd/linger/ann", "rm /var/lib/systemd/linger/ann",
            {"linger"},
        ),
        Broken(f"mkdir -p {MANAGER}", f"cd /sys/fs/cgroup; rmdir -p {MANAGER[15:]}", {"user-manager"}),
        Broken(
            f"cp -p {PAM} /root/sshd; echo 'account required pam_slurm_adopt.so' >> {PAM}; {SSHD}",
            f"{SSHD_AWAY}; mv /root/sshd {PAM}", {"adopt-open"},
        ),
        Broken(f"chmod g+w {JSON}", f"chmod g-w {JSON}", {"file-writable"}),
        Broken("chmod o+x /var/lib/slurm-hooks-docker", "chmod o-x /var/lib/slurm-hooks-docker", {"directory-open"}),
        Broken(
            "chmod 755 /run/slurm-hooks-docker; chmod 666 /run/slurm-hooks-docker/docker.sock",
            "chmod 700 /run/slurm-hooks-docker; chmod 660 /run/slurm-hooks-docker/docker.sock", {"socket-open"},
        ),
        Broken(
            "sysctl -qw fs.protected_symlinks=0 fs.suid_dumpable=1",
            "sysctl -qw fs.protected_symlinks=1 fs.suid_dumpable=0", {"sysctl-links", "sysctl-dumps"},
        ),
        Broken(
            f"cp -p {SITE} /root/toml; printf '[container]\nreadonly_root = false\n[mounts]\ndeny = [\"/var/run\"]\n"
            f"[node]\nreserve = 0\n' >> {SITE}", f"mv /root/toml {SITE}",
            {"readonly-root", "place-link", "node-reserve"},
        ),
        Broken(f"apparmor_parser --remove {PROFILE}", f"apparmor_parser --replace {PROFILE}", {"apparmor-profile"}),
        drop_in("slurm-hooks-sweep.service", "[Service]\nPrivateTmp=yes\n", {"unit-sweep"}),
    ],
    "ssh without adoption, a profile that only complains": [
        Broken(SSHD, SSHD_AWAY, {"adopt-missing"}),
        Broken(f"apparmor_parser --replace --Complain {PROFILE}", f"apparmor_parser --replace {PROFILE}",
               {"apparmor-profile"}),
    ],
    "units with other mounts": [
        drop_in(
            "slurm-hooks-broker.service",
            "[Service]\nNoNewPrivileges=no\nRestrictSUIDSGID=yes\nTemporaryFileSystem=/var/lib\n",
            {"unit-softened", "unit-breaks", "broker-blind"}, "slurm-hooks-broker",
        ),
        drop_in("slurm-hooks-docker.service", "[Service]\nPrivateTmp=yes\n", {"dockerd-apart"}, "slurm-hooks-docker"),
    ],
    "a dockerd set up otherwise": [
        Broken(
            f"{KEEP}; {SET} '{json.dumps(OTHERWISE)}'", BACK,
            {"dockerd-tcp", "live-restore", "userland-proxy", "no-new-privileges", "dockerd-debug", "cgroup-driver",
             "dockerd-experimental", "default-ulimits", "registry-insecure"},
        ),
        drop_in("slurm-hooks-docker.service", "[Service]\nMountFlags=private\n", {"dockerd-deaf"}),
        Broken(RESTART, "true", set()),
    ],
    "daemons that are away": [
        Broken("systemctl stop slurm-hooks-docker", "systemctl start slurm-hooks-docker", {"dockerd-away"}),
        Broken("systemctl stop slurm-hooks-broker", "systemctl start slurm-hooks-broker", {"broker-away"}),
    ],
}  # fmt: skip


def said(cluster: Cluster, node: str, how: str = "") -> list[dict[str, Any]]:
    """What it finds; its exit code is by that."""
    done = cluster.sh(node, f"slurm-hooks check --json {how}")
    found: list[dict[str, Any]] = json.loads(done.out)
    assert done.status == any(finding["level"] == "wrong" for finding in found), done
    return found


def names(found: list[dict[str, Any]]) -> set[str]:
    """Without notes: the labs run what Debian has, with its known holes."""
    return {finding["name"] for finding in found if finding["level"] != "note"}


@pytest.fixture(scope="module")
def sound(cluster: Cluster) -> Iterator[str]:
    """A node with systemd, its units enabled as documented; no timer is to meet another test."""
    if not cluster.has_systemd:
        pytest.skip("most of what is found is systemd's to show")
    node = cluster.node
    if cluster.sh(node, "systemctl is-enabled slurm-hooks-sweep.timer").status == 0:  # its operator has done so
        yield node
        return
    assert {"sweep-timer", "unit-disabled"} <= names(said(cluster, node))
    cluster.must(node, f"systemctl enable {ENABLE}")
    yield node
    cluster.must(node, f"systemctl disable {ENABLE}")


def test_it_finds_nothing_on_a_node_that_is_set_up_as_documented(cluster: Cluster, sound: str) -> None:
    found = said(cluster, sound)
    assert [finding for finding in found if finding["level"] != "note"] == []
    assert {finding["name"] for finding in found} <= {"hole-stopped"}


def test_nothing_is_wrong_on_a_node_of_any_lab(cluster: Cluster, node: str) -> None:
    assert [finding for finding in said(cluster, node) if finding["level"] == "wrong"] == []


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_on_the_node_is_found(cluster: Cluster, sound: str, what: str) -> None:
    done = []
    try:
        for broken in BROKEN[what]:
            done.append(broken)
            cluster.must(sound, broken.change)
        assert names(said(cluster, sound)) == set().union(*(broken.names for broken in done))
    finally:
        for broken in reversed(done):
            cluster.sh(sound, broken.back)
        if any(RESTART in broken.change for broken in done):
            cluster.must(sound, RESTART)


def test_a_container_of_the_self_test_is_read_back_and_leaves_nothing(cluster: Cluster, node: str) -> None:
    before = cluster.must(node, "find /sys/fs/cgroup -type d | sort")
    assert "live-differs" not in names(said(cluster, node, "--live"))
    assert "live-image" in {finding["name"] for finding in said(cluster, node, "--live --image nothing")}
    assert cluster.docker(node, "ps -aq").out == ""
    assert "slurm-hooks-check" not in cluster.must(node, "find /sys/fs/cgroup -type d | sort"), before
