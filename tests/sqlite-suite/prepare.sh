#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# prepare.sh BUILD_DIR -- fetch the source of the SQLite that is installed, and build its test program
# with the VFS "twz" as the default, in BUILD_DIR/sqlite-suite
#
# Exit codes: 0; 77 the source or a tool cannot be had (a message says which); 1 anything else.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
build=$(cd "$1" && pwd)
dir=$build/sqlite-suite

die() { printf 'sqlite-suite: %s\n' "$*" >&2; exit 1; }
cannot() { printf 'sqlite-suite: %s\n' "$*" >&2; exit 77; }
logged() { # LOG COMMAND...: quiet unless it fails
	local log=$1
	shift
	"$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; return 1; }
}

for t in apt-get dpkg-source dpkg-query tclsh8.6 make gcc pkg-config; do
	command -v "$t" >/dev/null || cannot "needs $t: install dpkg-dev, tcl-dev, make, gcc (./dev test sqlite-suite does)"
done
# What the distribution's library has beyond the default.
features=(--enable-load-extension --enable-fts3 --enable-fts4 --enable-fts5 --enable-rtree --enable-session --enable-update-limit)
version=$(dpkg-query -W -f '${source:Version}' libsqlite3-0 2>/dev/null) || cannot "libsqlite3-0 is not installed as a Debian package"
mkdir -p "$dir"
cd "$dir"

# A package list of our own: the system's need not have source entries, and root is not needed.
fetch() {
	local apt=(-o "Dir::Etc::sourcelist=$dir/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o "Dir::State::lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt/cache" -o "APT::Sandbox::User=$(id -un)")
	mkdir -p apt/lists/partial apt/cache/archives/partial
	{
		apt-get indextargets --format '$(ORIGIN) deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
			sed -n 's/^Debian deb-src/deb-src/p'
		echo "deb-src http://deb.debian.org/debian bookworm main"
		echo "deb-src http://deb.debian.org/debian-security bookworm-security main"
	} | sed 's#\([a-z]\)/ #\1 #' | sort -u >apt/sources.list
	echo "sqlite-suite: fetching the source of sqlite3 $version"
	logged fetch.log apt-get "${apt[@]}" update &&
		logged fetch.log apt-get "${apt[@]}" source --download-only "sqlite3=$version" ||
		cannot "cannot get the source package sqlite3 $version (no network, or the mirror has another version: upgrade libsqlite3-0)"
	rm -rf sqlite apt
	logged fetch.log dpkg-source --no-check -x "sqlite3_${version#*:}.dsc" sqlite || die "cannot unpack the source package"
	chmod -R a+rX sqlite
	rm -f sqlite3_*
	echo "$version" >version
}

# All of the test program but the VFS, as one object file: 40 seconds, once per version of SQLite.
compile() {
	local tcl
	tcl=$(pkg-config --variable=libdir tcl8.6 2>/dev/null)/tcl8.6
	[ -f "$tcl/tclConfig.sh" ] || cannot "needs tcl8.6-dev"
	rm -rf obj
	mkdir obj
	cd obj
	echo "sqlite-suite: compiling SQLite's test program"
	logged ../configure.log ../sqlite/configure "--with-tcl=$tcl" "${features[@]}" || die "configure failed"
	logged ../make.log make sqlite3.c fts5.c lemon mksourceid parse.c || die "make failed"
	logged ../make.log make testfixture 'LTLINK=$(TCC) -r' LIBTCL= TLIBS= OPTS=-DSQLITE_EXTRA_INIT=twz_suite_init || die "make failed"
	mv testfixture ../testfixture.o
	mv sqlite3.h ..
	cd ..
	rm -rf obj
	echo "${features[*]}" >features
}

link() {
	logged link.log gcc -O2 -g -Wall -Wextra -Werror -I. -I/usr/include/tcl8.6 -I"$top/sqlite-vfs/include" -I"$top/engine/include" \
		-o testfixture.new testfixture.o "$here/init.c" \
		"$build/lib/libtwzvfs_static.a" "$build/lib/libtwzdb_static.a" "$build/lib/libtwz_static.a" \
		$(pkg-config --libs libpmem2 uuid libxxhash) -ltcl8.6 -lz -lm -lpthread -ldl || die "linking failed"
	mv testfixture.new testfixture
}

if [ "$(cat version 2>/dev/null)" != "$version" ]; then
	rm -f version testfixture.o
	fetch
fi
[ -f testfixture.o ] && [ "$(cat features 2>/dev/null)" = "${features[*]}" ] || compile
link
