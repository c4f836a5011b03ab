#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""coverage.py -- which lines that store to memory ran between two crash points, and which did not

usage: coverage.py --build DIR [--limit N] [--all] [--explained] [--map FILE] [TWZCRASH-ARGUMENTS...]

Every store of the code under test is a call of a hook in bin/twzcrash. `twzcrash coverage` runs all
workloads and says which of these calls were made while a process recorded, and which of them stored to
the image. A line that never ran is printed, unless coverage.list says why its function cannot store to
a store, or cannot run here. --all: also lines that ran but stored to other memory only; --explained: also
those that coverage.list explains, with their text, for a review of it. --map: what ran, kept for the next time.
"""
import argparse
import collections
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PARTS = ("twz/core/", "twz/src/", "engine/src/", "sqlite-vfs/src/")
# every recovery is recorded, for it may be the only one that does something; what comes after those is other tests' business
RECOVERIES = ["--second", "1", "--second-limit", "1", "--third", "0", "--kill-max", "400"]
# what only one image in many makes a recovery do
RARE = [["engine.three", "--limit", "1500"], ["log.whole", "--limit", "1000", "--media", "line"]]
HOOK = re.compile(r"(call|jmp)\s+[0-9a-f]+ <(__tsan_(unaligned_)?write\d+|__tsan_write_range|__tsan_atomic\d+_(?!load)\w+|"
                  r"__wrap_mem\w+)>")
# reasons that are refuted by a store to the image
NOT_IMAGE = re.compile(r"never the image|private|messages|answers|prints|handles|names of files|shared memory")
ADDR = re.compile(r"^\s*([0-9a-f]+):")


def sites(exe):
    """Return addresses of the calls of hooks that store, and how many are jumps, which are not seen."""
    out = subprocess.run(["objdump", "-d", "--no-show-raw-insn", exe], capture_output=True, text=True, check=True).stdout
    found, jumps, pending = [], 0, False
    for line in out.splitlines():
        m = ADDR.match(line)
        if not m:
            continue
        if pending:
            found.append(int(m.group(1), 16))
        h = HOOK.search(line)
        pending = bool(h) and h.group(1) == "call"
        jumps += bool(h) and h.group(1) == "jmp"
    return found, jumps


def places(exe, addrs):
    """FILE, LINE, FUNCTION of each address; the innermost inlined function that is ours."""
    text = "\n".join(hex(a - 1) for a in addrs)
    out = subprocess.run(["addr2line", "-f", "-e", exe], input=text, capture_output=True, text=True, check=True).stdout
    lines = out.splitlines()
    for fn, at in zip(lines[0::2], lines[1::2]):
        at = at.split(" ")[0]
        path, _, no = at.rpartition(":")
        path = os.path.normpath(path)
        yield (path[len(ROOT) + 1:] if path.startswith(ROOT + "/") else "", no, fn)


def text_of(path, no):
    with open(os.path.join(ROOT, path)) as f:
        lines = f.readlines()
    return lines[no - 1].strip() if 0 < no <= len(lines) else "?"


def reasons():
    known = {}
    for line in open(os.path.join(HERE, "coverage.list")):
        if line.strip() and not line.startswith("#"):
            where, _, why = line.strip().partition(": ")
            known[tuple(where.split(" "))] = why
    return known


def run(exe, options):
    """Address behind the call of a hook -> bits of enum sim_cover_bits; None: a workload failed."""
    with tempfile.NamedTemporaryFile("r") as tmp:
        p = subprocess.run([exe, "coverage", "--image", tmp.name] + RECOVERIES + options, capture_output=True, text=True)
        if p.returncode:
            sys.stdout.write(p.stdout[-3000:] + p.stderr)
            return None
        return {int(l.split()[0], 16): int(l.split()[1]) for l in tmp}


def what_ran(exe, a, rest):
    if a.map and os.path.exists(a.map):
        with open(a.map) as f:
            return {int(l.split()[0], 16): int(l.split()[1]) for l in f}
    ran = run(exe, ["--limit", a.limit] + rest)
    for options in RARE if ran is not None and not rest else []:
        for addr, bits in (run(exe, options) or {}).items():
            ran[addr] = ran.get(addr, 0) | bits
    if a.map and ran is not None:
        with open(a.map, "w") as f:
            f.writelines(f"{addr:x} {bits}\n" for addr, bits in ran.items())
    return ran


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", required=True)
    ap.add_argument("--limit", default="80")
    ap.add_argument("--all", action="store_true")
    ap.add_argument("--explained", action="store_true")
    ap.add_argument("--map")
    a, rest = ap.parse_known_args()
    exe = os.path.join(os.path.abspath(a.build), "bin/twzcrash")
    ran = what_ran(exe, a, rest)
    if ran is None:
        return 1
    base = 0  # a position-independent executable: offsets are addresses
    addrs, jumps = sites(exe)
    state = collections.defaultdict(int)
    fns = {}
    for addr, (path, no, fn) in zip(addrs, places(exe, addrs)):
        if path.startswith(PARTS):
            state[(path, int(no) if no.isdigit() else 0)] |= ran.get(addr - base, 0)
            fns[(path, int(no) if no.isdigit() else 0)] = fn
    known, used, bad = reasons(), set(), 0
    count = collections.Counter()
    for (path, no), bits in sorted(state.items()):
        fn = fns[(path, no)]
        why = [k for k in ((path,), (path, fn)) if k in known]
        kind = "image" if bits & 2 else "other" if bits else "explained" if why else "never"
        count[kind] += 1
        used.update(why if kind == "explained" else ())
        if kind == "never" or (a.all and kind == "other") or (a.explained and kind == "explained"):
            print(f"{kind:6} {path}:{no} {fn}" + (": " + text_of(path, no) if a.explained else ""))
        bad += kind == "never"
        for k in why:
            if bits & 2 and NOT_IMAGE.search(known[k]):
                print(f"wrong  {path}:{no} {fn} stored to the image; coverage.list says: {known[k]}")
                bad += 1
    print(f"coverage: {sum(count.values())} lines that store: {count['image']} stored to the image between two crash points, "
          f"{count['other']} ran and stored elsewhere, {count['explained']} did not run and need not (coverage.list), "
          f"{count['never']} did not run; {jumps} calls by jump not seen")
    for k in sorted(set(known) - used):
        print("coverage.list: not needed any more:", " ".join(k))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
