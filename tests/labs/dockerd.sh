#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dockerd.sh start|stop|status: a Docker daemon for lab (a) on this machine.
# start and status print the DOCKER_HOST to use; status fails where there is none.
# A daemon that answers already, at $DOCKER_HOST or the usual place, is used and never touched;
# otherwise start one whose sockets, state and data are all in places of our own.
#
#   export DOCKER_HOST="$(tests/labs/dockerd.sh start)"
set -eu

run=/run/slurm-hooks-lab
data=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}/docker
ours=unix://$run/docker.sock
theirs=${DOCKER_HOST:-unix:///var/run/docker.sock}

answers() { docker -H "$1" version >/dev/null 2>&1; }

daemon() { # daemon NAME COMMAND...: start it detached from us, its pid in $run, its words in $data
    name=$1
    shift
    # shellcheck disable=SC2016 # the inner shell's own pid and arguments
    setsid --fork sh -c 'echo $$ >"$0.pid"; exec "$@"' "$run/$name" "$@" \
        </dev/null >>"$data/$name.log" 2>&1
}

end() { # end NAME: ask it to stop and wait until it has
    pid=$(cat "$run/$1.pid" 2>/dev/null) || return 0
    # A file from before a reboot may name a stranger's process.
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] || return 0
    kill "$pid"
    for _ in $(seq 300); do
        [ -e "/proc/$pid" ] || return 0
        sleep 0.1
    done
    echo "dockerd.sh: $1 (pid $pid) does not end; see $data/$1.log" >&2
    return 1
}

start() {
    echo "dockerd: starting one of our own, data in $data" >&2
    mkdir -p "$run" "$data"
    : >"$data/containerd.log"
    : >"$data/dockerd.log"
    cat >"$run/containerd.toml" <<END
version = 2
root = "$data/containerd"
state = "$run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$run/containerd.sock"
[ttrpc]
address = "$run/containerd.sock.ttrpc"
END
    echo '{}' >"$run/docker.json" # instead of the machine's /etc/docker/daemon.json
    daemon containerd containerd --config "$run/containerd.toml"
    # No bridge and no firewall rules of the machine are touched: the nodes only talk to each other.
    # Cgroup v1 would share the machine's cgroup namespace by default; a node must see its own root.
    daemon dockerd dockerd --config-file "$run/docker.json" --host "$ours" --containerd "$run/containerd.sock" \
        --pidfile "$run/dockerd.own.pid" --data-root "$data/data" --exec-root "$run/exec" \
        --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent /slurm-hooks-lab \
        --default-cgroupns-mode=private --bridge=none --iptables=false --ip6tables=false \
        --ip-forward=false --ip-masq=false --default-address-pool base=10.231.0.0/16,size=24
    for _ in $(seq 300); do
        answers "$ours" && return
        sleep 0.1
    done
    tail -n 5 "$data/dockerd.log" >&2
    echo "dockerd: does not answer after 30 s; see $data/dockerd.log" >&2
    return 1
}

stop() {
    [ -d "$run" ] || return 0
    end dockerd
    end containerd
    # dockerd leaves the network namespace of --network host mounted.
    awk -v below="$run/" 'index($2, below) == 1 {print $2}' /proc/mounts | tac | xargs -r umount
    rm -rf "$run"
    # Of these they have no choice; where another daemon uses them they are not empty.
    rmdir --parents --ignore-fail-on-non-empty /run/docker/plugins /run/containerd/s 2>/dev/null || :
    find /sys/fs/cgroup -depth -type d -path '*/slurm-hooks-lab*' -exec rmdir {} +
}

case ${1:-} in
start)
    if answers "$ours"; then
        echo "$ours"
    elif answers "$theirs"; then
        echo "$theirs"
    else
        stop # what a crash may have left
        start
        echo "$ours"
    fi
    ;;
stop) stop ;;
status)
    if answers "$ours"; then
        echo "$ours"
    elif answers "$theirs"; then
        echo "$theirs"
    else
        exit 1
    fi
    ;;
*)
    sed -n 's/^# \(dockerd.sh start.*\)/usage: \1/p' "$0" >&2
    exit 2
    ;;
esac
