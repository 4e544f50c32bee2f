#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh [SUITE]: build the root tree of a node, of Debian trixie or SUITE, as one tar file; print its path.
# All labs use it: as a container image and as the disk of a virtual machine.
# No service in it is enabled: each lab starts what it wants, in its own order.
# A file already built from this script and the list beside it is used as it is.
set -eu

suite=${1:-trixie}
here=$(dirname "$(readlink -f "$0")")
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}
hash=$(cat "$here/build.sh" "$here/clients.sh" "$here/packages" | sha256sum | cut -c1-12)
tar=$cache/tree-$suite-$hash.tar

mkdir -p "$cache"
exec 9>"$cache/tree.lock"
flock 9 # two labs may ask at once
if [ -e "$tar" ]; then
    echo "$tar"
    exit
fi
clients=$(mktemp -d "$cache/clients.XXXXXX")
trap 'rm -rf "$tar.part" "$clients"' EXIT

# The machine's own mirror, which it is known to reach.
# shellcheck disable=SC2016 # apt's variable
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/*$' | head -n 1)
packages=$(grep -o '^[^#]*' "$here/packages" | grep -v "!$suite" | cut -d ' ' -f 1 | tr '\n' ' ')
echo "tree: building $tar from ${mirror:=http://deb.debian.org/debian}" >&2

"$here/clients.sh" "$clients" "$suite"

# The machine-id stays empty: systemd then takes no boot for the first one, and so applies no presets.
# shellcheck disable=SC2016 # the hooks' $1 is the root tree, set by mmdebstrap
mmdebstrap --mode=root --variant=minbase --format=tar --include="$packages" \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Check-Valid-Until "false"' `# a mirror may stand still` \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/fonts/*' \
    --skip=cleanup/reproducible/machine-id \
    --essential-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"' \
    --customize-hook='cd "$1/usr/lib/systemd/system" && chroot "$1" systemctl --quiet disable \
        $(ls docker.service docker.socket containerd.service munge.service slurmctld.service slurmd.service \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer docker-registry.service atd.service \
        cron.service ssh.service nfs-server.service nfs-client.target nfs-blkmap.service rpcbind.service \
        rpcbind.socket 2>/dev/null)' `# not each suite has each` \
    --customize-hook='chroot "$1" useradd --uid 1001 --shell /bin/bash --no-create-home ann' \
    --customize-hook='chroot "$1" useradd --uid 1002 --shell /bin/bash --no-create-home bob' \
    --customize-hook='rm -rf "$1"/usr/lib/python3/dist-packages/networkx/*/tests \
        "$1"/usr/lib/python3/dist-packages/networkx/*/*/tests' \
    --customize-hook="copy-in $clients/docker-clients /opt" \
    --customize-hook=': >"$1/etc/machine-id"' \
    "$suite" "$tar.part" "$mirror" >&2

chmod 600 "$tar.part" # the cluster's munge key is in it: the munge package made one
mv "$tar.part" "$tar"
echo "$tar"
