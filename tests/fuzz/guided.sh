#!/bin/sh
# SPDX-License-Identifier: MIT
# guided.sh BUILD_DIR TARGET SECONDS [libFuzzer options]: store, group, lazy, log, dump, sql or shell under libFuzzer. The corpus is
# BUILD_DIR/corpus/TARGET; it begins with a store made on the spot (shell: the scripts of tests/shell), and is kept for the next run if
# TWZ_FUZZ_KEEP is set. A finding is BUILD_DIR/corpus/finding-TARGET-*; BUILD_DIR/tests/fuzz_store (or fuzz_dump ...) with that file runs it again.
set -eu
here=$(dirname "$(readlink -f "$0")")
build=$1 target=$2 seconds=$3
shift 3
corpus=$build/corpus/$target
[ -n "${TWZ_FUZZ_KEEP:-}" ] || rm -rf "$corpus"
mkdir -p "$corpus"
cd "$build"
bin=$target
max=4194304
case $target in
log) bin=store && export TWZ_FUZZ_LOG=1 ;;
group | lazy) bin=store && export TWZ_FUZZ_SEED="$target" ;;
dump) export TWZ_FUZZ_DUMP=1 ;;
shell)
	max=20000
	cp "$here"/../shell/*.in "$here"/../shell/dump.out "$corpus"
	set -- -dict="$here/shell.dict" -close_fd_mask=3 "$@"
	;;
esac
export ASAN_OPTIONS=detect_leaks=0:handle_abort=1
exec tests/fuzz_$bin -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4000 -max_len=$max -len_control=0 -print_final_stats=1 \
	-artifact_prefix="$build/corpus/finding-$target-" "$@" "$corpus"
