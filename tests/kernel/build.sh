#!/bin/sh
# SPDX-License-Identifier: MIT
# build.sh SOURCE_DIR BUILD_DIR: build the kernel module against every installed set of Debian kernel headers, warnings
# being errors, and look into the result: the core is in it whole, nothing is missing, the licence is the one we mean.
set -eu
src=$1
out=$2
built=0

fail()
{
	echo "FAIL: $*" >&2
	exit 1
}

# Every function core.h declares must be defined in the module.
api=$(sed -n 's/^int \(twzc_[a-z_]*\)(.*/\1/p' "$src/twz/core/core.h")
[ "$(echo "$api" | wc -l)" -ge 15 ] || fail "core.h declares too few functions: is it read right?"
mkdir -p "$out"
before=$(cd "$src" && find kernel-shim twz/core twz/include -type f | sort)

for kdir in /usr/src/linux-headers-*-amd64; do
	[ -e "$kdir/Makefile" ] || continue
	dir=$out/$(basename "$kdir")
	echo "== $(basename "$kdir")"
	rm -rf "$dir"
	# The caller's compiler flags and make options are for user space.
	env -u MAKEFLAGS -u CFLAGS -u CC make -s -C "$src/kernel-shim" KDIR="$kdir" BUILD="$dir" KCFLAGS=-Werror \
		>"$out/build.log" 2>&1 || { cat "$out/build.log"; fail "the module does not build"; }
	if grep -i warning "$out/build.log"; then
		fail "warnings"
	fi
	[ -s "$dir/twz.ko" ] || fail "no twz.ko"
	nm "$dir/twz.ko" >"$out/symbols"
	for f in $api; do
		grep -q " [Tt] $f\$" "$out/symbols" || fail "$f is not in the module"
	done
	# What it leaves to the kernel must be exported by it.
	for s in $(sed -n 's/^ *U //p' "$out/symbols"); do
		grep -q "	$s	" "$kdir/Module.symvers" || fail "the kernel does not export $s"
	done
	readelf -p .modinfo "$dir/twz.ko" | grep -q 'license=Dual MIT/GPL$' || fail "licence"
	readelf -p .modinfo "$dir/twz.ko" | grep -q 'parm=selftest:' || fail "parameter selftest"
	built=$((built + 1))
done
[ "$built" -gt 0 ] || fail "no kernel headers in /usr/src: ./dev setup installs linux-headers-amd64"
after=$(cd "$src" && find kernel-shim twz/core twz/include -type f | sort)
[ "$before" = "$after" ] || fail "the build wrote into the source tree"

# The interface header compiles alone, as C and as C++.
for lang in c c++; do
	echo '#include "twz_shim.h"' | ${CXX:-c++} -x "$lang" -Wall -Wextra -Werror -fsyntax-only \
		-I"$src/kernel-shim/include/uapi" - || fail "twz_shim.h as $lang"
done
echo "built against $built kernel(s)"
