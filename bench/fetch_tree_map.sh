#!/bin/sh
# SPDX-License-Identifier: MIT
# fetch_tree_map.sh DIR -- put libpmemobj's tree_map example into DIR, from Debian's pmdk source
#
# The source package is fetched with lists and caches below DIR: nothing in /etc/apt changes, and
# apt checks it against the archive's signature. PMDK_SRC=TREE takes it from an unpacked source
# instead. If it cannot be had, DIR/why says so and the benchmark leaves that peer out.
set -u
dir=$1
ex=src/examples/libpmemobj
want="$ex/tree_map/btree_map.c $ex/tree_map/btree_map.h"

have() { [ -f "$dir/btree_map.c" ] && [ -f "$dir/btree_map.h" ]; }
fail() { printf '%s\n' "$1" >"$dir/why"; printf 'fetch_tree_map: %s\n' "$1" >&2; exit 0; }

mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" || exit 1
dir=$(cd "$dir" && pwd)
have && exit 0
rm -f "$dir/why"

if [ -n "${PMDK_SRC:-}" ]; then
	for f in $want; do cp "$PMDK_SRC/$f" "$dir/" || fail "PMDK_SRC=$PMDK_SRC has no $f"; done
	exit 0
fi

command -v apt-get >/dev/null || fail "no apt-get to fetch the source of pmdk with (or set PMDK_SRC to a source tree)"
. /etc/os-release
key=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb-src [signed-by=$key] http://deb.debian.org/debian ${VERSION_CODENAME:-bookworm} main" >"$dir/sources.list"
apt() {
	apt-get -qq -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir/cache" "$@" >"$dir/log" 2>&1
}
cd "$dir" || exit 1
apt update || fail "apt-get update for Debian's sources failed: $(grep -m1 '^E:' log)"
apt source --download-only pmdk || fail "apt-get source pmdk failed: $(grep -m1 '^E:' log)"
for f in pmdk_*.orig.tar.*; do
	tar -xf "$f" --wildcards --strip-components=5 "*/$ex/tree_map/btree_map.[ch]" || fail "$f: no btree_map in it"
done
have || fail "btree_map is not in the source of pmdk"
