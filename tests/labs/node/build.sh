# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Read by LAB/build.sh: how what a boot needs is built, but for what is the lab's own. $labs is the directory of all labs,
# $suite is Debian's name of what is on the node.

: "${labs:?}" "${suite:?}"
cache=${SLURM_HOOKS_CACHE:-/var/cache/slurm-hooks}

# begin LAB SUITE PACKAGE FILES WORD: the node's root in $node, the kernel's package unpacked in $work/deb, and what is to
# be printed made in $work/image. Where it was built of the same parts before, that is printed, and this script ends.
#   FILES   a pattern: what the kernel's package is called in the cache, where it is fetched once
#   WORD    what else it is made of
begin() {
    lab=$1 files=$4
    mkdir -p "$cache"
    exec 8>"$cache/$lab.lock"
    flock 8 # two may ask at once
    work=$(mktemp -d "$cache/$lab.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM

    [ -n "$(newest)" ] || "$labs/fetch.sh" "$2" "$3" "$cache"
    deb=$(newest)
    parts=$("$labs/node/fill.sh" "$lab" "$suite")
    image=$cache/$lab-$(echo "$parts $deb $5" | sha256sum | cut -c1-12)
    if [ -d "$image" ]; then
        echo "$image"
        exit
    fi
    echo "$lab: building $image" >&2
    node=$work/node
    mkdir -p "$node" "$work/deb" "$work/image"
    "$labs/node/fill.sh" "$lab" "$suite" "$node"
    dpkg-deb --extract "$deb" "$work/deb"
}

newest() { find "$cache" -maxdepth 1 -name "$files" | sort -V | tail -n 1; }

# end: the node's root becomes disk.img, and what was made is printed.
end() {
    # No journal: no disk outlives its boot.
    truncate --size 6G "$work/image/disk.img"
    mkfs.ext4 -q -F -O ^has_journal -E root_owner=0:0 -d "$node" "$work/image/disk.img"
    chmod 700 "$work/image" # the cluster's munge key is on the disk
    mv "$work/image" "$image"
    echo "$image"
}
