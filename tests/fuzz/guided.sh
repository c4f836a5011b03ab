#!/bin/sh
# SPDX-License-Identifier: MIT
# guided.sh BUILD_DIR TARGET SECONDS [libFuzzer options]: store, group, lazy, log, dump, sql, shell or restore under libFuzzer.
# BUILD_DIR/corpus/TARGET.seeds is what it begins with, made on the spot; BUILD_DIR/corpus/TARGET is what was found to reach something new:
# kept for the next run if TWZ_FUZZ_KEEP is set, and reduced to the smallest inputs that reach it all (else it begins anew, elsewhere). A finding is
# BUILD_DIR/corpus/finding-TARGET-*; BUILD_DIR/tests/fuzz_store (or fuzz_dump ...) with that file runs it again.
set -eu
here=$(dirname "$(readlink -f "$0")")
build=$1 target=$2 seconds=$3
shift 3
corpus=$build/corpus/$target
[ -n "${TWZ_FUZZ_KEEP:-}" ] || corpus=$build/corpus/short/$target
seeds=$corpus.seeds
[ -n "${TWZ_FUZZ_KEEP:-}" ] || rm -rf "$corpus" "$seeds"
mkdir -p "$corpus" "$seeds"
cd "$build"
bin=$target
max=4194304
case $target in
log) bin=store && export TWZ_FUZZ_LOG=1 ;;
group | lazy) bin=store && export TWZ_FUZZ_SEED="$target" ;;
dump) export TWZ_FUZZ_DUMP=1 ;;
sql) max=1048576 ;;
shell | restore)
	max=20000
	set -- -dict="$here/shell.dict" -close_fd_mask=3 "$@"
	;;
esac
case $target in
shell)
	# the scripts in the transcripts, each for itself
	for f in "$here"/../shell/*.in; do
		awk -v to="$seeds/$(basename "$f" .in)" '/<<.?SQL/ { n++; on = 1; next } /^SQL$/ { on = 0 } on { print > (to n) }' "$f"
	done
	cp "$here"/../shell/dump.out "$seeds"
	;;
esac
for f in "$here/found/$target"-*; do
	[ ! -e "$f" ] || cp "$f" "$seeds"
done
export ASAN_OPTIONS=detect_leaks=0:handle_abort=1:quarantine_size_mb=32
set -- -timeout=60 -rss_limit_mb=4000 -max_len=$max -len_control=0 -artifact_prefix="$build/corpus/finding-$target-" "$@"
rc=0
tests/fuzz_$bin -max_total_time="$seconds" -print_final_stats=1 "$@" "$corpus" "$seeds" || rc=$?
if [ -n "${TWZ_FUZZ_KEEP:-}" ] && [ $rc -eq 0 ]; then
	rm -rf "$corpus.less"
	mkdir "$corpus.less"
	if tests/fuzz_$bin -merge=1 "$@" "$corpus.less" "$corpus" "$seeds" >"$corpus.merge" 2>&1; then
		echo "corpus: $(ls "$corpus" | wc -l) inputs, $(ls "$corpus.less" | wc -l) of them needed"
		rm -rf "$corpus" && mv "$corpus.less" "$corpus"
	fi
fi
exit $rc
