#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fill.sh LAB SUITE DIRECTORY: make the root of a node that systemd runs in a directory: the labs' tree of that suite, what
# such nodes share (overlay/ here) and what LAB has of its own (overlay/ there). The kernel's modules are the caller's.
# fill.sh LAB SUITE: print a word of what it would be made of.
set -eu

lab=$1 suite=$2
here=$(dirname "$(readlink -f "$0")")
command -v mmdebstrap >/dev/null || "$here/../host.sh"
tree=$("$here/../tree/build.sh" "$suite")
if [ -z "${3-}" ]; then
    (cd "$here/.." && echo "$tree" && cat node/fill.sh node/build.sh "$lab/build.sh" &&
        find node/overlay "$lab/overlay" -type f | sort | xargs tail -v -n +1) | sha256sum | cut -c1-12
    exit
fi

node=$3
mkdir -p "$node/src"
tar --directory "$node" --extract --numeric-owner --xattrs --xattrs-include='*' --file "$tree"
cp -r "$here/overlay/." "$here/../$lab/overlay/." "$node"

for user in ann bob; do
    cp -r "$node/etc/skel" "$node/home/$user"
    chroot "$node" chown -R "$user:" "/home/$user"
    chmod 700 "$node/home/$user"
done
# The package's hundred profiles are for programs that are not here, and take five seconds to load.
find "$node/etc/apparmor.d" -maxdepth 1 -type f ! -name runc -delete
systemctl --quiet --root="$node" enable munge slurmctld slurmd containerd lab-node lab-agent
# The jobs have a dockerd of their own; and no timer is to meet a test.
systemctl --quiet --root="$node" disable docker.service docker.socket getty@tty1.service systemd-pstore.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer
