#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh -- shell transcripts: run.sh TWZDB [NAME...]
#
# NAME.in is a sh script that runs twzdb (and sqlite3, to compare) in an empty directory; everything it prints, errors included,
# must be exactly NAME.out. UPDATE=1 writes NAME.out instead: read the difference before committing it.
set -u
twzdb=$(readlink -f "$1")
shift
here=$(dirname "$(readlink -f "$0")")
[ $# -gt 0 ] || set -- $(cd "$here" && ls *.in | sed 's/\.in$//')

work=$(mktemp -d "${TMPDIR:-/tmp}/twzdb-shell-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/home"
ln -s "$twzdb" "$work/bin/twzdb"

# A known environment: no settings of the user's, messages in English.
export PATH="$work/bin:$PATH" HOME="$work/home" LC_ALL=C.UTF-8 NO_COLOR=1 TERM=dumb
unset TWZDB_HISTORY XDG_DATA_HOME XDG_STATE_HOME 2>/dev/null
export shell_tests="$here"

failed=0
for name in "$@"; do
	mkdir "$work/$name"
	(cd "$work/$name" && sh "$here/$name.in" </dev/null >"$work/$name.got" 2>&1)
	if [ -n "${UPDATE:-}" ]; then
		cp "$work/$name.got" "$here/$name.out"
		echo "wrote   $name.out"
	elif cmp -s "$here/$name.out" "$work/$name.got"; then
		echo "ok      $name"
	else
		echo "FAILED  $name (expected <, got >)"
		diff -a "$here/$name.out" "$work/$name.got"
		failed=1
	fi
done
exit $failed
