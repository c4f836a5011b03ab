#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sites.py -- is each call of flush, fence, sync, write and publish in the sources one that mutants are made of?

usage: sites.py --twzcrash FILE [--jobs N]

`twzcrash mutants` takes away the calls that it meets while workloads run. This looks for calls in the sources, and fails
when one was met in no workload, unless sites.list says what stands for it, or which test has it. The primitives
themselves are unit.persist's and unit.file_sync's (mutants_list.py has them).
"""
import argparse
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ("twz/core", "twz/src", "engine/src", "sqlite-vfs/src")
PRIMITIVES = {"persist.c", "persist_line.h", "persist_cpu.h", "backend_file.c", "file_sync.c"}
CALL = re.compile(r"\b(twz_flush|twz_fence|twz_persist|twz_sync|twz_sync_all|twz_publish64|twz__fence_lines|twz__copy_lines|twz__txseg_write|"
                  r"twz__log_write|twz__log_publish|twz__log_flush_homes|"
                  r"(?:media|m|c)->ops->(?:flush|fence|write_sync|sync_range|sync_all|zero|give|take|log_write|publish|reset))\(")
SITE = re.compile(r"^(?:flush|fence|sync|write|publish) +(?:line|page) .*?(\w\S*) \(([\w.]+):(\d+)\) < (\w\S*) \(([\w.]+):(\d+)\)")


def met(exe, jobs):
    """(file, line) of callers and their callers."""
    cmd = [exe, "mutants", "--list", "1", "--seed", "1", "--jobs", str(jobs)]
    r = subprocess.run(cmd, capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"sites.py: {' '.join(cmd)}: {r.returncode}\n{r.stdout[-2000:]}{r.stderr[-2000:]}")
    lines = set()
    for ln in r.stdout.splitlines():
        m = SITE.match(ln)
        if m:
            lines |= {(m[2], int(m[3])), (m[5], int(m[6]))}
    return lines


def calls(path):
    """(function, first line, last line) of each call in a file."""
    text = open(path).read()
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)
    rows, fn = text.split("\n"), "?"
    for i, row in enumerate(rows, 1):
        head = re.match(r"^[a-z].*?(\w+)\(", row)
        if head and not row.rstrip().endswith(";"):
            fn = head[1]
        elif not head and CALL.search(row):
            end = i
            while end < min(i + 6, len(rows)) and not re.search(r"[;{]", rows[end - 1]):
                end += 1
            yield fn, i, end


def known():
    """Of sites.list: (file, function) -> reason."""
    out = {}
    with open(os.path.join(ROOT, "tests/crash/sites.list")) as f:
        for row in f:
            if row.strip() and not row.startswith("#"):
                where, why = row.split(": ", 1)
                out[tuple(where.split())] = why.strip()
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--twzcrash", required=True)
    ap.add_argument("--jobs", type=int, default=os.cpu_count())
    a = ap.parse_args()
    seen, listed = met(a.twzcrash, a.jobs), known()
    used, there, cnt, wrong = set(), set(), 0, 0
    for folder in FOLDERS:
        for path in sorted(glob.glob(f"{ROOT}/{folder}/*.[ch]")):
            name = os.path.basename(path)
            for fn, first, last in calls(path) if name not in PRIMITIVES else ():
                cnt += 1
                there.add((name, fn))
                # A call that lies over several lines: the compiler may say any of them.
                if any((name, n) in seen for n in range(first - 1, last + 1)):
                    continue
                used.add((name, fn))
                if (name, fn) not in listed:
                    print(f"FAIL: no workload makes this call: {folder}/{name}:{first}, in {fn}()")
                    wrong += 1
    # (Whether a function's last call leaves a trace of it is up to the compiler.)
    for where in sorted(set(listed) - there):
        print(f"FAIL: sites.list: {' '.join(where)}: there is no such call any more")
        wrong += 1
    print(f"sites.py: {cnt} calls in the sources, {len(used)} functions with some that stand in sites.list")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
