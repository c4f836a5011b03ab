#!/bin/sh
# SPDX-License-Identifier: MIT
# extension.sh EXT -- the loadable extension in the stock sqlite3 shell and in Python's sqlite3
set -eu
ext=${1%.so}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

got=$(sqlite3 :memory: ".load $ext" ".open file:$dir/a.twz?vfs=twz" \
	"create table t(a); insert into t values(41),(1); select sum(a) from t;")
[ "$got" = 42 ] || { echo "sqlite3 shell: got '$got', want 42"; exit 1; }

got=$(/usr/bin/python3 - "$ext" "$dir/a.twz" <<'P'
import sqlite3, sys
c = sqlite3.connect(":memory:")
c.enable_load_extension(True)
c.load_extension(sys.argv[1])
d = sqlite3.connect("file:%s?vfs=twz" % sys.argv[2], uri=True)
with d:
    d.execute("insert into t values(58)")
print(d.execute("select sum(a) from t").fetchone()[0], d.execute("pragma integrity_check").fetchone()[0])
P
)
[ "$got" = "100 ok" ] || { echo "python: got '$got', want '100 ok'"; exit 1; }

# As the default VFS, for programs whose paths cannot say which.
got=$(sqlite3 :memory: "select load_extension('$ext','sqlite3_twzdefault_init') is null;" ".open $dir/a.twz" "select count(*) from t;" | tail -n 1)
[ "$got" = 3 ] || { echo "default VFS: got '$got', want 3"; exit 1; }

# A plain database is refused, and left alone.
sqlite3 "$dir/plain.db" "create table t(a)"
before=$(cksum "$dir/plain.db")
if sqlite3 :memory: ".load $ext" ".open file:$dir/plain.db?vfs=twz" "select * from t;" >/dev/null 2>&1; then
	echo "a plain SQLite file was opened as a store"; exit 1
fi
[ "$(cksum "$dir/plain.db")" = "$before" ] || { echo "the plain file was changed"; exit 1; }
echo "extension works in the sqlite3 shell and in Python"
