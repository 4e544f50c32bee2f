#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh apparmor|selinux: build what a boot of lab (b) needs, and print its directory:
#     disk.img   the node's ext4 disk: the labs' common root tree, the kernel's modules, overlay/
#     security   which security module the kernel starts with, in its own words
#     root/      the kernel, a program, with the libc that it wants: newer than Debian 12's
# A directory already built from the same parts is used as it is.
set -eu

security=$1
here=$(dirname "$(readlink -f "$0")")
ours=$here/../../../etc/selinux/slurm-hooks.cil
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}
mkdir -p "$cache"
exec 8>"$cache/uml.lock"
flock 8 # two may ask at once

work=$(mktemp -d "$cache/uml.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# The kernels of the user-mode-linux packages before 7.2 (bookworm, trixie) panic on processors with AMX.
deb=$(find "$cache" -maxdepth 1 -name 'user-mode-linux_*.deb' | sort -V | tail -n 1)
if [ -z "$deb" ]; then
    # shellcheck disable=SC2016 # apt's variable
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/*$' | head -n 1)
    echo "uml: fetching the user-mode-linux package from ${mirror:=http://deb.debian.org/debian}" >&2
    # An apt of its own beside the machine's: its sources, lists and configuration stay as they are.
    mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror forky main" >"$work/apt/sources.list"
    private() {
        apt-get -qq -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=- \
            -o Dir::State="$work/apt" -o Dir::State::Status=/dev/null -o Dir::Cache="$work/apt" \
            -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o APT::Sandbox::User=root "$@" >&2
    }
    private update
    (cd "$work" && private download user-mode-linux)
    mv "$work"/user-mode-linux_*.deb "$cache"
    deb=$(echo "$cache"/user-mode-linux_*.deb)
fi

command -v mmdebstrap >/dev/null || "$here/../host.sh"
tree=$("$here/../tree/build.sh")
hash=$( (cd "$here" && echo "$tree $deb $security" && cat build.sh lab.cil "$ours" && find overlay -type f | sort | xargs tail -v -n +1) |
    sha256sum | cut -c1-12)
image=$cache/uml-$hash
if [ -d "$image" ]; then
    echo "$image"
    exit
fi

echo "uml: building $image" >&2
node=$work/node
mkdir -p "$node/src" "$work/deb" "$work/image/root"
tar --directory "$node" --extract --numeric-owner --xattrs --xattrs-include='*' --file "$tree"
dpkg-deb --extract "$deb" "$work/deb"
mkdir -p "$node/usr/lib/modules"
mv "$work"/deb/usr/lib/uml/modules/* "$node/usr/lib/modules"
cp -r "$here/overlay/." "$node"

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

echo "$security=1 security=$security" >"$work/image/security"
if [ "$security" = selinux ]; then
    # Labelled here, and not in a boot of its own: a kernel without SELinux takes the labels as it takes any attribute.
    cp /etc/resolv.conf "$node/etc/resolv.conf"
    chroot "$node" sh -c 'export DEBIAN_FRONTEND=noninteractive
        apt-get -qq update && apt-get -qq install --no-install-recommends selinux-policy-default policycoreutils &&
        apt-get clean && rm -rf /var/lib/apt/lists/* /etc/resolv.conf' >&2
    # An operator does it with what `make install` brings; here it would take a minute of each boot.
    cp "$ours" "$here/lab.cil" "$node/tmp"
    chroot "$node" semodule --noreload --install /tmp/slurm-hooks.cil /tmp/lab.cil >&2
    rm "$node"/tmp/*.cil
    chroot "$node" setfiles -F /etc/selinux/default/contexts/files/file_contexts /
fi

# No journal: no disk outlives its boot.
truncate --size 6G "$work/image/disk.img"
mkfs.ext4 -q -F -O ^has_journal -E root_owner=0:0 -d "$node" "$work/image/disk.img"

cd "$work/image/root"
mkdir dev image lib lib64 proc run src tmp
touch dev/null dev/random
cp "$work/deb/usr/bin/linux.uml" .
cp "$node/lib64/ld-linux-x86-64.so.2" lib64
cp "$node/lib/x86_64-linux-gnu/libc.so.6" "$node/lib/x86_64-linux-gnu/libgcc_s.so.1" lib
chmod 700 "$work/image" # the cluster's munge key is on the disk
mv "$work/image" "$image"
echo "$image"
