#!/bin/sh
# SPDX-License-Identifier: MIT
# install.sh BUILD -- install into BUILD/examples/root; headers compile alone, pkg-config answers, shared libraries link
set -eu
build=$(cd "$1" && pwd)
dir=$build/examples
root=$dir/root

rm -rf "$root" "$dir/staged"
mkdir -p "$dir"
DESTDIR=$dir/staged cmake --install "$build" >"$dir/install.log"
pc=$(find "$dir/staged" -name twz.pc)
[ -n "$pc" ] || { echo "no twz.pc was installed"; exit 1; }
# Moved: what is below must work from anywhere.
mv "$(dirname "$(dirname "$(dirname "$pc")")")" "$root"
rm -rf "$dir/staged"
. "$(dirname "$0")/env.sh"

for h in "$root"/include/*.h "$root"/include/twz/*.h; do
	name=${h#"$root"/include/}
	[ "$name" = twz/ptr_inline.h ] && continue # the second half of ptr.h
	echo "#include <$name>" | cc -std=c11 -Wall -Wextra -Werror -fsyntax-only -I"$root/include" -xc -
	echo "#include <$name>" | c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only -I"$root/include" -xc++ -
done
for p in twz twzdb twzvfs twzvfs-static; do
	pkg-config --exists --print-errors "$p"
	pkg-config --cflags --libs --static "$p" >/dev/null
done
[ -f "$(pkg-config --variable=extension twzvfs).so" ] || { echo "the extension is not where twzvfs.pc says"; exit 1; }

# The shared VFS, which finds the engine and libtwz beside itself.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
top=$(cd "$(dirname "$0")/../.." && pwd)
cc -Wall -Wextra -Werror -o "$tmp/notes" "$top/examples/sqlite-static/notes.c" $(pkg-config --cflags --libs twzvfs)
readelf -d "$tmp/notes" | grep -q 'NEEDED.*libtwzvfs\.so\.0' || { echo "twzvfs.pc links no shared library"; exit 1; }
[ "$("$tmp/notes" "$tmp/a.twz" shared)" = "1 shared" ] || { echo "the shared VFS does not work"; exit 1; }
# The shell is whole by itself.
[ "$(env -u LD_LIBRARY_PATH "$root/bin/twzdb" "$tmp/a.twz" "select text from note")" = shared ] || { echo "the installed shell does not work"; exit 1; }
echo "installed in $root"
