#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# program.sh BUILD FOLDER [ARGS] -- build the crash test of a program of one's own, and run it with ARGS (none: list)
#
# FOLDER has a CMakeLists.txt that calls twz_crash_program(NAME SOURCE...) (README.md, "Your own program"). BUILD is a build of this tree: it
# is read only, but for crash-elsewhere/, where each such folder has a build of its own. Exit status: the program's, or 2: it could not be built.
set -euo pipefail

die() { printf 'crash program: %s\n' "$*" >&2; exit 2; }

# Of folders that are no more.
sweep() {
	local made
	for made in "$1"/*/folder; do
		[ ! -f "$made" ] || [ -d "$(cat "$made")" ] || rm -rf -- "$(dirname "$made")"
	done
}

[ $# -ge 2 ] || die "usage: program.sh BUILD FOLDER [ARGS]"
here=$(dirname "$(readlink -f "$0")")
build=$(readlink -f "$1")
[ -f "$build/crash-targets.cmake" ] || die "$1 is no build with the crash harness (gcc, no sanitizer)"
sweep "$build/crash-elsewhere"
[ -f "$2/CMakeLists.txt" ] || die "$2: name a folder with a CMakeLists.txt (examples/crash/README.md)"
folder=$(readlink -f "$2")
shift 2
made=$build/crash-elsewhere/$(printf %s "$folder" | sha256sum | cut -c1-16)
mkdir -p "$made"
printf '%s\n' "$folder" >"$made/folder"
if ! { cmake -G Ninja -S "$here/program" -B "$made" -C "$build/crash-settings.cmake" -DBUILD="$build" -DFOLDER="$folder" &&
	cmake --build "$made"; } >"$made/log" 2>&1; then
	cat "$made/log" >&2
	die "$folder could not be built"
fi
exec "$made/bin/$(cat "$made/name")" "${@:-list}"
