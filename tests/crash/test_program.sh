#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# test_program.sh BUILD -- programs of one's own (program.sh), as README.md says they are made: copies of ours under their own names, programs
# that cannot be built, a folder that goes away; and what `mutants` takes away from them. BUILD must not notice anything of it.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
build=$(readlink -f "$1")
examples=$here/../../examples/crash
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"; "$here/program.sh" "$build" /nowhere 2>/dev/null || true' EXIT # it sweeps
bad=0

# want STATUS TEXT COMMAND...
want() {
	local status=$1 text=$2 rc=0
	shift 2
	"$@" >"$tmp/out" 2>&1 </dev/null || rc=$?
	if [ $rc -ne "$status" ] || ! grep -q -- "$text" "$tmp/out"; then
		echo "FAIL: ${*##*/}: exit status $rc, not $status, with '$text':"
		tail -20 "$tmp/out"
		bad=1
	fi
}
program() { timeout 200 "$here/program.sh" "$build" "$@"; }
state() { cat "$build/build.ninja" "$build/CMakeCache.txt" | sha256sum; }

before=$(state)

# The ten lines, in a folder with the name of ours, and in another one; the larger example, whose target has the name of ours.
cp -r "$examples/mine" "$tmp/mine"
cp -r "$examples/mine" "$tmp/other"
cp -r "$examples" "$tmp/bank"
want 0 " 0 failed; " program "$tmp/mine" run --limit 100 --seed 1 --keep "$tmp"
want 0 " 0 failed; " program "$tmp/other" run mine --limit 100 --seed 1 --keep "$tmp"
want 1 "^FAIL transfer.broken" program "$tmp/bank" run transfer.broken --limit 300 --seed 1 --keep "$tmp"
# What is built is what stands there now.
sed -i 's/"mine", \.media/"changed", .media/' "$tmp/other/mine.c"
want 0 "^changed " program "$tmp/other"

# `dev crash --program FOLDER` means a folder beside whoever calls it, wherever dev itself lies: with what dev calls taken out.
mkdir -p "$tmp/tree/tests/crash" "$tmp/bin" "$tmp/tree/build"
cp "$here/../../dev" "$tmp/tree/dev"
touch "$tmp/tree/build/build.ninja"
printf '#!/bin/sh\nreadlink -f "$2"\n' >"$tmp/tree/tests/crash/program.sh"
printf '#!/bin/sh\nexit 0\n' >"$tmp/bin/cmake"
printf '#!/bin/sh\nfor p in "$@"; do echo "ii  $p"; done\n' >"$tmp/bin/dpkg-query"
chmod +x "$tmp/tree/tests/crash/program.sh" "$tmp/bin/cmake" "$tmp/bin/dpkg-query"
dev_from() { (cd "$1" && PATH="$tmp/bin:$PATH" "$tmp/tree/dev" crash --program "$2" run); }
want 0 "^$(readlink -f "$tmp")/other\$" dev_from "$tmp" other
want 0 "^$(readlink -f "$tmp")/bank\$" dev_from "$tmp/other" ../bank
want 0 "^$(readlink -f "$tmp")/bank\$" dev_from / "$tmp/bank"

# Its own calls are taken away, and nobody else's; unless it is asked for.
want 0 "12 of 12 call sites tried; 12 caught" program "$tmp/bank" mutants transfer.receipt --seed 1
want 0 "12 of 12 call sites tried; 12 caught" "$build/bin/transfer" mutants transfer.receipt --seed 1
want 1 "^FAIL: nobody misses sync page: receipt" program "$tmp/bank" mutants transfer.twice --seed 1
want 2 "nothing to take away" program "$tmp/bank" mutants transfer.right --seed 1
want 0 "fence .* checkpoint (" program "$tmp/bank" mutants transfer.right --seed 1 --all 1 --list 1

# What cannot be built says why, and nothing else breaks.
mkdir "$tmp/none" "$tmp/empty" "$tmp/syntax"
echo '# nothing' >"$tmp/empty/CMakeLists.txt"
echo 'twz_crash_program(syntax syntax.c)' >"$tmp/syntax/CMakeLists.txt"
echo 'int main(' >"$tmp/syntax/syntax.c"
want 2 "name a folder with a CMakeLists.txt" program "$tmp/none" run
want 2 'twz_crash_program(NAME SOURCE...)' program "$tmp/empty" run
want 2 "syntax.c:1" program "$tmp/syntax" run
# Nor when a folder is gone: its build goes, too.
rm -r "$tmp/mine"
want 2 "name a folder with a CMakeLists.txt" program "$tmp/mine" run
want 0 "^transfer.right" program "$tmp/bank"
if grep -qx "$(readlink -f "$tmp")/mine" "$build"/crash-elsewhere/*/folder; then
	echo "FAIL: the build of a folder that is gone is still there"
	bad=1
fi
if [ "$before" != "$(state)" ] || grep -qF "$tmp" "$build/build.ninja" "$build/CMakeCache.txt"; then
	echo "FAIL: the build has changed"
	bad=1
fi
[ $bad -ne 0 ] || echo "programs of one's own: built, run, broken, gone; the build is as it was"
exit $bad
