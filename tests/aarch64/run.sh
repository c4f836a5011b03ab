#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh -- build for aarch64 and run unit tests under qemu-user; README.md says which and why
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
dir=$PWD/build-aarch64
export TWZ_ARM_ROOT=$dir/root
LIBS=(libc6 libc6-dev libgcc-s1 libpmem2 libpmem2-dev libpmem1 libuuid1 uuid-dev libxxhash0 libxxhash-dev
	libsqlite3-0 libsqlite3-dev libcunit1 libcunit1-dev libedit2 libedit-dev libtinfo6 libbsd0 libmd0
	libndctl6 libdaxctl1 libkmod2 libudev1 libzstd1 liblzma5 libcrypt1 libssl3 libncurses-dev libncurses6)
TESTS=(persist engine_node engine_simd engine_reader engine_accel engine_snap)

skip() { printf 'aarch64: skipped: %s\n' "$*"; exit 0; }

# The libraries are unpacked, not installed: nothing of another architecture enters this system.
fetch() {
	mkdir -p "$dir/debs" "$TWZ_ARM_ROOT"
	dpkg --print-foreign-architectures | grep -qx arm64 || dpkg --add-architecture arm64
	apt-get update -qq
	(cd "$dir/debs" && apt-get download -qq "${LIBS[@]/%/:arm64}")
	for d in "$dir"/debs/*.deb; do dpkg -x "$d" "$TWZ_ARM_ROOT"; done
	touch "$dir/fetched"
}

command -v aarch64-linux-gnu-gcc qemu-aarch64-static >/dev/null ||
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		gcc-aarch64-linux-gnu g++-aarch64-linux-gnu qemu-user-static >/dev/null 2>&1 ||
	skip "gcc-aarch64-linux-gnu or qemu-user-static cannot be installed (no root, or no network?)"
[ -e "$dir/fetched" ] || fetch >/dev/null 2>&1 || skip "the arm64 packages of Debian cannot be fetched"

log=$dir/build.log
cmake -S . -B "$dir" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$PWD/tests/aarch64/toolchain.cmake" \
	-DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS="-O2 -g" -DCMAKE_CXX_FLAGS="-O2 -g" >"$log" 2>&1 &&
	cmake --build "$dir" --target "${TESTS[@]/#/test_}" >>"$log" 2>&1 || { tail -20 "$log"; exit 1; }
rc=0
for t in "${TESTS[@]}"; do
	# -R: the view's address range is only a reservation, for which qemu would keep tables all the same.
	# cortex-a72: qemu 7.2 offers newer processors' DC CVAP to programs but does not carry it out.
	if timeout 120 qemu-aarch64-static -cpu cortex-a72 -R 0x1000000000 -L "$TWZ_ARM_ROOT" \
		"$dir/tests/test_$t" >"$dir/$t.log" 2>&1; then
		echo "ok      $t"
	else
		echo "FAILED  $t"; tail -20 "$dir/$t.log"; rc=1
	fi
done
exit $rc
