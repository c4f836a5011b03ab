#!/bin/sh
# SPDX-License-Identifier: MIT
# demo.sh -- demo.sh TWZDB: `twzdb -demo` tells the truth, fails when it must, and leaves nothing behind
set -u
twzdb=$(readlink -f "$1")
work=$(mktemp -d "${TMPDIR:-/tmp}/twzdb-demotest-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
mkdir tmp home
export TMPDIR="$work/tmp" HOME="$work/home" LC_ALL=C.UTF-8 NO_COLOR=1
failed=0
claim() { # claim TEXT COMMAND...: the command must succeed
	text=$1
	shift
	if "$@" >claim.out 2>&1; then
		echo "ok      $text"
	else
		echo "FAILED  $text"
		cat claim.out
		failed=1
	fi
}
exits() { # exits CODE COMMAND...: stdout and stderr in `log`
	want=$1
	shift
	"$@" >log 2>&1 </dev/null
	got=$?
	[ "$got" = "$want" ] || { echo "exit $got, not $want:"; cat log; false; }
}
empty() { [ -z "$(ls -A "$1")" ]; }

claim "the demo on this machine's packages exits 0" exits 0 "$twzdb" -demo
cp log real.log
claim "it names its checks and all of them held" grep -Eq '^([0-9]+) of \1 checks held' real.log
claim "it ran more than ten checks" grep -Eq '^(1[1-9]|[2-9][0-9]) of' real.log
claim "nothing FAILED" sh -c '! grep -q FAILED real.log'
claim "two writers were killed with thousands of rows open" sh -c '[ $(grep -c "ok .*none of the 4000 uncommitted rows" real.log) = 2 ]'
claim "changed pages had left the cache by then" sh -c '! grep -q "(0 changed pages" real.log && grep -q "changed pages had gone" real.log'
claim "the temporary store is gone" empty tmp

claim "in a store of the user's" exits 0 "$twzdb" -demo kept.twz
installed=$(dpkg-query -W -f '${db:Status-Status}\n' | grep -c '^installed$')
claim "which holds every installed package afterwards" test "$("$twzdb" kept.twz "SELECT count(*) FROM packages")" = "$installed"
libc=$(dpkg-query -W -f '${Version}\n' libc6 | head -1)
claim "with the right version of libc6" test "$("$twzdb" kept.twz "SELECT version FROM packages WHERE name = 'libc6' LIMIT 1")" = "$libc"
claim "and its dependency on libgcc-s1" test "$("$twzdb" kept.twz "SELECT count(*) FROM depends WHERE package = 'libc6' AND name = 'libgcc-s1'")" -ge 1
claim "and the committed rows of both killed writers" test "$("$twzdb" kept.twz "SELECT count(*), count(DISTINCT pid), sum(state = 'committed') FROM ledger")" = "21|3|21"
claim "a second time it refuses to fill the same tables" exits 1 "$twzdb" -demo kept.twz
claim "and says what to do" grep -q "kept.twz: has tables of the demo's names, which it would fill again; try another store" log

# Malformed records of dpkg: read as far as they make sense, never a crash.
mkdir -p dpkg/info
printf 'Package: a\nStatus: install ok installed\nVersion: 1\nDepends: b (>= 1) | c, ,  (, d:any (<< 2\nProvides: x, y (= 1)\nDescription: "q", comma\n more: text\n\nPackage: gone\nStatus: deinstall ok config-files\n\nno colon here\n: no name\nPackage: b\nPackage: b2\nStatus: install ok installed' >dpkg/status
printf '/.\n/usr\n/usr/bin\n/usr/bin/a\n\nrelative\n/usr/bin/"q,"\n' >dpkg/info/a.list
: >dpkg/info/b:amd64.list
claim "odd records of dpkg" env TWZDB_DPKG=dpkg "$twzdb" -demo odd.twz
claim "give the packages that are installed" test "$("$twzdb" -separator / odd.twz "SELECT name, version, summary FROM packages")" = 'a/1/"q", comma
b//'
claim "their dependencies" test "$("$twzdb" odd.twz "SELECT clause, name, version FROM depends")" = '1|b|>= 1
1|c|
4|d|'
claim "and files, without directories" test "$("$twzdb" odd.twz "SELECT * FROM files")" = 'a|/usr/bin|a
a|/usr/bin|"q,"'

mkdir none
: >none/status
claim "no packages at all is a failed check" env TWZDB_DPKG=none sh -c '"$1" -demo >log 2>&1; [ $? = 1 ] && grep -q "FAILED  all 0 rows" log' - "$twzdb"
claim "no dpkg is an error" env TWZDB_DPKG=/nonexistent sh -c '"$1" -demo >log 2>&1; [ $? = 1 ] && grep -q "try it on a Debian system" log' - "$twzdb"
claim "a TMPDIR that is not there is an error" env TMPDIR=/nonexistent sh -c '"$1" -demo >log 2>&1; [ $? = 1 ] && grep -q "try another TMPDIR" log' - "$twzdb"
claim "a store that cannot be opened: exit 3" exits 3 "$twzdb" -demo /nonexistent/x.twz
claim "nothing is left in TMPDIR" empty tmp
exit $failed
