#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sites.py -- is each call that makes something durable one that mutants are made of, and was each of these tried?

usage: sites.py --twzcrash FILE [--jobs N]

`twzcrash mutants` takes away the calls that it meets while workloads run. This looks for calls in the sources:
	- of the functions that flush, fence, sync, copy past the cache, write, publish, and of the medium's operations that
	  change what is on it, by name;
	- atomic stores, by the calls that the compiler made of them in twzcrash;
	- system calls and instructions that do such things, by name.
Each must be met by a workload as a call site, or sites.list says which mutant made by hand stands for it (and
mutants_list.py has it, for that file), as which other call site it is met (where it is inlined in its caller), or why
nothing is lost without it. An atomic store that never stores to the image
need not be one; one that never ran must be explained in coverage.list. A call in a function that is itself one of those
looked for stands for that function's calls, which are looked at.

And each call site must have been tried: mutants.hints has what caught it, or equivalent.list the proof that it need not be.
"""
import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile

from coverage import places, reasons, text_of
from mutants_list import MUTANTS

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FOLDERS = ("twz/core", "twz/src", "twz/include/twz", "engine/src", "sqlite-vfs/src")
# name -> what it does, for mutants
CALLS = {
    "twz_flush": "flush", "twz_flush_each": "flush", "twz_fence": "fence", "twz_persist": "flush fence",
    "twz_sync": "flush fence sync", "twz_sync_all": "fence sync", "twz_publish64": "publish", "twz_copy_nt": "copy publish",
    "twz__fence_lines": "fence", "twz__copy_lines": "copy", "twz__txseg_write": "copy write", "twz__log_write": "copy write",
    "twz__log_publish": "fence write", "twz__log_flush_homes": "fence sync flush",
}
OPS = {
    "flush": "flush", "fence": "fence sync", "write_sync": "write fence", "sync_range": "sync", "sync_all": "sync fence", "zero": "write fence",
    "give": "write fence", "copy_nt": "copy", "log_write": "write fence", "take": "", "grow": "", "write_back": "", "publish": "sync", "reset": "",
}
# frames that where.c skips, for they only pass a call on: what they call stands for whoever calls them
PASSED = {"line_flush", "line_fence", "line_log_write", "page_log_write", "op_zero", "flush_at", "flush_live", "flush_rec"}
CALLS |= {"flush_at": "flush", "flush_live": "flush", "flush_rec": "flush"}
CALL = re.compile(r"\b(?:(" + "|".join(CALLS) + r")\(|ops->(" + "|".join(OPS) + r")\()|, (?:\w+->)*ops->(" + "|".join(OPS) + r")\)")
RAW = re.compile(r"\b(fsync|fdatasync|syncfs|sync_file_range|msync|p?writev?2?|pwrite64|pwritev2|rename(?:at2?)?|link(?:at)?|unlink(?:at)?|"
                 r"(?:posix_)?fallocate|f?truncate|copy_file_range|sendfile|f->(?:flush|drain|memcpy)|fm\(m\)->(?:flush|drain|memcpy)|"
                 r"twz__cpu_(?:clwb|sfence|stream8|stream16)|_mm_(?:clwb|clflush(?:opt)?|sfence|stream_\w+))\(")
SITE = re.compile(r"^(flush|fence|sync|write|publish|copy) +(?:line|page) +\d+ +\d+ ((?:\(\w+\) )*)(\w\S*) \(([^)]+):(\d+)\) < (\w\S*) \(([^)]+):(\d+)\)")
ATOMIC = re.compile(r"(call|jmp)\s+[0-9a-f]+ <__tsan_atomic\d+_(?!load)\w+>")
REASON = re.compile(r"(mutant (?P<mutants>[\w, -]+)|met as (?P<met>\w+ < \w+)|(?P<other>no promise|untried))(?P<why>: .+)?$")


def run(exe, jobs, image):
    cmd = [exe, "mutants", "--list", "1", "--seed", "1", "--jobs", str(jobs), "--image", image,
           "--hints", os.path.join(HERE, "mutants.hints"), "--equivalent", os.path.join(HERE, "equivalent.list")]
    r = subprocess.run(cmd, capture_output=True, text=True)
    if r.returncode and not r.stdout.startswith("mutants: "):
        sys.exit(f"sites.py: {' '.join(cmd)}: {r.returncode}\n{r.stdout[-2000:]}{r.stderr[-2000:]}")
    return r.stdout.splitlines(), r.returncode


def inside(path):
    path = os.path.normpath(path)
    return path[len(ROOT) + 1:] if path.startswith(ROOT + "/") else path


def met(lines):
    """(kind, path, line) of callers and their callers."""
    out = set()
    for ln in lines:
        m = SITE.match(ln)
        if m:
            out |= {(m[1], inside(m[4]), int(m[5])), (m[1], inside(m[7]), int(m[8]))}
    return out


def rows_of(path):
    """The text of a file without its comments, by line."""
    text = open(path).read()
    return re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S).split("\n")


def calls(path):
    """(function, first line, last line, name, kinds; no kinds: a system call) of each call in a file."""
    rows, fn = rows_of(path), "?"
    for i, row in enumerate(rows, 1):
        head = re.match(r"^[a-zA-Z_].*?(\w+)\(", row)
        if head and not row.rstrip().endswith(";") and not row.startswith("#"):
            fn = head[1]
            continue
        if head or row.startswith("#"):
            continue
        end = i
        while end < min(i + 8, len(rows)) and not re.search(r"[;{]", rows[end - 1]):
            end += 1
        for m in CALL.finditer(row):
            yield fn, i, end, m[0].strip("(), "), (CALLS.get(m[1]) or OPS.get(m[2] or m[3]) or "-").split()
        for m in RAW.finditer(row):
            yield fn, i, end, m[1], []


def known():
    """Of sites.list: (path, function, call) -> reason."""
    out = {}
    with open(os.path.join(HERE, "sites.list")) as f:
        for row in f:
            if row.strip() and not row.startswith("#"):
                where, why = row.split(": ", 1)
                out[tuple(where.split())] = why.strip()
    return out


def reason_wrong(where, why, lines):
    m = REASON.match(why)
    if not m or (m["other"] and not m["why"]):
        return "says neither which mutant stands for it (mutant NAME, met as A < B) nor why nothing is lost (no promise: WHY)"
    if m["met"] and not any(s and f"{s[3]} < {s[6]}" == m["met"] for s in map(SITE.match, lines)):
        return f"there is no call site {m['met']}"
    for name in re.split(r", *", m["mutants"].strip()) if m["mutants"] else ():
        if not any(x.name == name and x.file == where[0] for x in MUTANTS):
            return f"mutants_list.py has no {name} in {where[0]}"
    return None


def atomics(exe):
    """Addresses behind the calls of atomic stores."""
    out = subprocess.run(["objdump", "-d", "--no-show-raw-insn", exe], capture_output=True, text=True, check=True).stdout
    found, pending = [], False
    for line in out.splitlines():
        m = re.match(r"^\s*([0-9a-f]+):", line)
        if not m:
            continue
        if pending:
            found.append(int(m[1], 16))
        pending = bool(ATOMIC.search(line))
    return found


def look_at_atomics(exe, image, seen, listed):
    """How many lines have atomic stores; what is wrong with some; which need what stands in LISTED."""
    with open(image) as f:
        ran = {int(ln.split()[0], 16): int(ln.split()[1]) for ln in f}
    state, why, wrong, used = {}, reasons(), [], set()
    addrs = atomics(exe)
    for addr, (path, no, fn) in zip(addrs, places(exe, addrs)):
        if path.startswith(FOLDERS) and no.isdigit():
            key = (path, int(no), fn)
            state[key] = state.get(key, 0) | ran.get(addr, 0)
    for (path, no, fn), bits in sorted(state.items()):
        where = (path, fn, "atomic")
        if fn in CALLS or bits & 2 and ("publish", path, no) in seen or bits == 1 or not bits and ((path,) in why or (path, fn) in why):
            continue
        used.add(where)
        if where in listed:
            continue
        if bits & 2:
            wrong.append(f"{path}:{no}, in {fn}(): stores to the image, and is no call site: {text_of(path, no)}")
        elif bits & 4:
            wrong.append(f"{path}:{no}, in {fn}(): stores to the image only where nothing is crashed: {text_of(path, no)}")
        else:
            wrong.append(f"{path}:{no}, in {fn}(): an atomic store that no workload runs: {text_of(path, no)}")
    return len(state), wrong, used


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--twzcrash", required=True)
    ap.add_argument("--jobs", type=int, default=os.cpu_count())
    a = ap.parse_args()
    with tempfile.NamedTemporaryFile("r") as image:
        lines, rc = run(a.twzcrash, a.jobs, image.name)
        seen, listed = met(lines), known()
        atomic_cnt, wrong, used = look_at_atomics(a.twzcrash, image.name, seen, listed)
    wrong += [ln for ln in lines if ln.startswith("FAIL")]
    wrong += [f"never tried: nothing in mutants.hints has caught it, nor does equivalent.list say why it need not be: {ln}"
              for ln in lines if "(untried)" in ln]
    sites = sum(bool(SITE.match(ln)) for ln in lines)
    cnt, there = 0, set(used)
    for folder in FOLDERS:
        for path in sorted(glob.glob(f"{ROOT}/{folder}/*.[ch]")):
            name = os.path.relpath(path, ROOT)
            for fn, first, last, call, kinds in calls(path):
                cnt += 1
                there.add((name, fn, call))
                if (fn in CALLS or fn in PASSED) and kinds or fn.startswith("twz__cpu_") or call.startswith("_mm_"):
                    continue
                if any((k, name, n) in seen for k in kinds for n in range(first, last + 1)):
                    continue
                used.add((name, fn, call))
                if (name, fn, call) not in listed:
                    what = "no workload makes this call" if kinds else "a system call or an instruction"
                    wrong.append(f"{name}:{first}, {call} in {fn}(): {what}, and sites.list says nothing of it")
    for where, why in sorted(listed.items()):
        bad = "there is no such call any more" if where not in there else "it is a call site" if where not in used else reason_wrong(where, why, lines)
        if bad:
            wrong.append(f"sites.list: {' '.join(where)}: {bad}")
    for w in wrong:
        print(w if w.startswith("FAIL") else f"FAIL: {w}")
    if not sites or not cnt or not atomic_cnt:
        print("FAIL: nothing was found: the sources, or what twzcrash prints, have changed")
        rc = 1
    print(f"sites.py: {cnt} calls and {atomic_cnt} lines with atomic stores in the sources, {sites} call sites; "
          f"{len(used)} in sites.list, {sum(why.startswith('untried') for why in listed.values())} of these without a test; {len(wrong)} wrong")
    return 1 if wrong or rc else 0


if __name__ == "__main__":
    sys.exit(main())
