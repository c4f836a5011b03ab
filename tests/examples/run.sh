#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh BUILD NAME -- build examples/NAME against the installation, run it, compare what it prints
#
# Exit codes: 0; 77 something it needs cannot be had (a message says what); 1 anything else.
set -eu
build=$(cd "$1" && pwd)
name=$2
here=$(cd "$(dirname "$0")" && pwd)
example=$here/../../examples/$name
root=$build/examples/root
cannot() { echo "SKIPPED: $*" >&2; exit 77; }

. "$here/env.sh"
ext=$(pkg-config --variable=extension twzvfs)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cp -R "$example/." "$tmp"
cd "$tmp"

build_it() { make -s CFLAGS="-O2 -std=c11 -Wall -Wextra -Werror"; }

# One package, compiled or fetched ready: once for a build directory.
npm_modules() {
	command -v node >/dev/null && command -v npm >/dev/null || cannot "node and npm are not installed"
	cache=$build/examples/npm
	mkdir -p "$cache"
	cmp -s package.json "$cache/package.json" || rm -rf "$cache/node_modules"
	if ! (cd "$cache" && [ -d node_modules ] && node -e "new (require('better-sqlite3'))(':memory:')" 2>/dev/null); then
		cp package.json "$cache"
		(cd "$cache" && timeout 400 npm install --no-audit --no-fund --fetch-retries=0 >npm.log 2>&1 &&
			{ node -e "new (require('better-sqlite3'))(':memory:')" 2>/dev/null || timeout 400 npm rebuild better-sqlite3 >>npm.log 2>&1; }) || {
			rm -f "$cache/package.json"
			cannot "better-sqlite3 cannot be installed: no network, or it cannot be compiled ($cache/npm.log)"
		}
	fi
	(cd "$cache" && node -e "new (require('better-sqlite3'))(':memory:')") || cannot "better-sqlite3 was installed without its compiled part ($cache/npm.log)"
	ln -s "$cache/node_modules" node_modules
}

case $name in
list)
	build_it
	./list a.twz add one two three && ./list a.twz show && ./list a.twz drop && ./list a.twz show
	;;
kv)
	build_it
	./kv a.twz
	;;
listen)
	build_it
	./listen a.twz
	;;
sqlite-static)
	build_it
	readelf -d notes | grep -q 'NEEDED.*libtwz' && { echo "notes needs a shared library of twzdb"; exit 1; }
	env -u LD_LIBRARY_PATH ./notes a.twz "buy milk" && env -u LD_LIBRARY_PATH ./notes a.twz "and bread"
	;;
sqlite-extension)
	build_it
	./count "$ext" a.twz && ./count "$ext" a.twz
	;;
sqlite-shell)
	command -v sqlite3 >/dev/null || cannot "the sqlite3 shell is not installed"
	sh ./library.sh "$ext" "$tmp/a.twz"
	;;
python)
	/usr/bin/python3 -c 'import sqlite3; sqlite3.Connection.enable_load_extension' 2>/dev/null || cannot "no /usr/bin/python3 with loadable extensions"
	/usr/bin/python3 events.py "$ext" "$tmp/a.twz"
	;;
better-sqlite3)
	npm_modules
	{ node todo.js "$ext" a.twz "water the plants" && node todo.js "$ext" a.twz "feed the cat"; } | sed 's/^SQLite [0-9.]*,/SQLite VERSION,/'
	;;
*)
	echo "no example '$name'"
	exit 1
	;;
esac >got.txt || { rc=$?; cat got.txt; exit $rc; }
diff -u expected.txt got.txt || { echo "$name prints something else"; exit 1; }
cat got.txt
