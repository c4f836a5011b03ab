#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""coverage.py -- which lines that store to memory ran between two crash points, and which did not

usage: coverage.py --build DIR [--limit N] [--all] [--explained] [--files] [--map FILE] [TWZCRASH-ARGUMENTS...]

Every store of the code under test is a call of a hook in bin/twzcrash. `twzcrash coverage` runs all
workloads and says which of these calls were made while a process recorded, and which of them stored to
the image. It fails for
- a store by a jump, which cannot be seen;
- a line that never ran, unless coverage.list says why its function need not run here;
- a source file that is not in bin/twzcrash at all, unless that list says that nothing there stores to a store: then
  it may call nothing of ours but what the list says, which is looked up in what the build made of it;
- a reason that is not true: a line it is about has stored to the image; or less of the file ran than it says ("ran 80 %");
- a reason for lines of which none ran at all, and that names no test, or one there is not;
- a line that did not run though its function stored to the image by another, or that stores by a pointer to a struct of the media, if
  its reason names no test: it may store to the image itself, and nothing that ran can refute the reason;
- a reason that is not needed.

--all: also lines that ran but stored to other memory only; --explained: also those that coverage.list explains, with
their text, for a review of it; --files: how much of each file ran. --map: what ran, kept for the next time.
"""
import argparse
import collections
import glob
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PARTS = ("twz/core/", "twz/src/", "engine/src/", "sqlite-vfs/src/")
# every recovery is recorded, for it may be the only one that does something; what comes after those is other tests' business
RECOVERIES = ["--second", "1", "--second-limit", "1", "--third", "0", "--kill-max", "400", "--seed", "1"]
# what only one image in many makes a recovery do
RARE = [["engine.three", "--limit", "1500"], ["log.whole", "--limit", "1000", "--media", "line"]]
HOOK = re.compile(r"(call|jmp)\s+[0-9a-f]+ <(__tsan_(unaligned_)?write\d+|__tsan_write_range|__tsan_atomic\d+_(?!load)\w+|"
                  r"__wrap_mem\w+)>")
ANYWHERE = "anywhere: "  # the only reasons that are not refuted by a store to the image
SOMETIMES = "sometimes: "  # needed in some runs only: processes that are killed beside others do not always meet in the same way
SHARE = re.compile(r"\bran (\d+) %")
TEST = re.compile(r"\b(?:unit|vm|sqlite|model|fuzz|shell|examples|crash)\.[a-z][a-z0-9_.]*[a-z0-9_]")
UNLINKED = re.compile(r"not linked, calls ([\w ]+): ")
CALLS = re.compile(r"\b(twz\w*)$")
MEDIA = re.compile(r"(const )?struct \w+_pm \*(\w+)")
ADDR = re.compile(r"^\s*([0-9a-f]+):")


def sites(exe):
    """Return addresses behind the calls of hooks that store, and behind jumps to them, which are not seen."""
    out = subprocess.run(["objdump", "-d", "--no-show-raw-insn", exe], capture_output=True, text=True, check=True).stdout
    found, jumps, call, jump = [], [], False, False
    for line in out.splitlines():
        m = ADDR.match(line)
        if not m:
            continue
        if call or jump:
            (found if call else jumps).append(int(m.group(1), 16))
        h = HOOK.search(line)
        call, jump = (bool(h) and h.group(1) == kind for kind in ("call", "jmp"))
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


def media_stores(path):
    """Lines of a file whose text stores by a pointer to a struct of the media (..._pm) that is not const."""
    with open(os.path.join(ROOT, path)) as f:
        lines = f.readlines()
    names = {m.group(2) for l in lines for m in MEDIA.finditer(l) if not m.group(1)}
    if not names:
        return set()
    by = "|".join(sorted(names))
    store = re.compile(rf"^\s*(?:(?:{by})->[^=;(]*[^=!<>]=[^=]|\*(?:{by}) = |(?:mem\w+|st\d+\w*|\w*atomic_store_n)\(&?(?:{by})\b)")
    return {no for no, l in enumerate(lines, 1) if store.match(l)}


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
        more = run(exe, options)
        if more is None:
            return None
        for addr, bits in more.items():
            ran[addr] = ran.get(addr, 0) | bits
    if a.map and ran is not None:
        with open(a.map, "w") as f:
            f.writelines(f"{addr:x} {bits}\n" for addr, bits in ran.items())
    return ran


def sources():
    """All source files there are, from the file system."""
    for part in PARTS:
        for folder, _, names in os.walk(os.path.join(ROOT, part)):
            for name in names:
                if name.endswith(".c"):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)


def linked(exe):
    """Source files that code in the program was made from."""
    out = subprocess.run(["readelf", "--debug-dump=info", "--dwarf-depth=1", exe], capture_output=True, text=True, check=True).stdout
    paths = (os.path.normpath(line.split()[-1]) for line in out.splitlines() if "DW_AT_name" in line)
    return {p[len(ROOT) + 1:] for p in paths if p.startswith(ROOT + "/")}


def calls_of(path, build):
    """What a source file calls of ours, outside of itself: of what the build made of it."""
    part, _, rest = path.partition("/")
    made = glob.glob(os.path.join(build, part, "CMakeFiles", "*", rest + ".o"))
    if not made:
        sys.exit(f"coverage.py: {path}: the build has not compiled it")
    out = subprocess.run(["nm", "-u", made[0]], capture_output=True, text=True, check=True).stdout
    return {m.group(1) for m in map(CALLS.search, out.splitlines()) if m}


def check_linked(exe, known, build):
    bad, used = 0, set()
    have = linked(exe)
    for key in sorted(k for k, why in known.items() if k[0] in have and UNLINKED.match(why)):
        print(f"wrong  {key[0]} is in {os.path.basename(exe)}, though coverage.list says that it is not")
        bad += 1
    for path in sorted(set(sources()) - have):
        m = UNLINKED.match(known.get((path,), ""))
        if not m:
            print(f"absent {path} is not in {os.path.basename(exe)}: no workload can run it")
            bad += 1
            continue
        used.add((path,))
        more = calls_of(path, build) ^ set(m.group(1).split())
        if more:
            print(f"wrong  {path}: coverage.list says what it calls; not so: {' '.join(sorted(more))}")
            bad += 1
    return bad, used


def tests_there_are(build):
    out = subprocess.run(["ctest", "-N"], cwd=build, capture_output=True, text=True).stdout
    names = set(re.findall(r"Test +#\d+: (\S+)", out))
    if not names:
        sys.exit(f"coverage.py: {build}: ctest -N names no tests")
    return names


def check_reason(key, why, lines, tests):
    """LINES: (line number, bits) of what the reason is about. Yields what is wrong."""
    ran = sum(1 for _, bits in lines if bits)
    stored = [no for no, bits in lines if bits & 2]
    if stored and not why.startswith(ANYWHERE):
        yield f"line {stored[0]} stored to the image"
    share = SHARE.search(why)
    if share and ran * 100 < int(share.group(1)) * len(lines):
        yield f"{ran} of {len(lines)} lines that store ran, which is less than it says"
    if key[0].startswith("sqlite-vfs/") and len(key) == 1 and not share and ran:
        yield "of a file of the VFS it must say how much ran"
    named = TEST.findall(why)
    for name in named:
        if tests and name not in tests:
            yield f"there is no test {name}"
    if not ran and not named:
        yield "nothing of it ran, and no test is named that runs it"


def print_files(state):
    files = collections.defaultdict(list)
    for (path, _), bits in state.items():
        files[path].append(bits)
    for path, bits in sorted(files.items()):
        ran = sum(1 for b in bits if b)
        print(f"  {path:40} {ran:4} of {len(bits):4} ran ({100 * ran // len(bits)} %), {sum(1 for b in bits if b & 2)} of them stored to the image")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", required=True)
    ap.add_argument("--limit", default="80")
    ap.add_argument("--all", action="store_true")
    ap.add_argument("--explained", action="store_true")
    ap.add_argument("--files", action="store_true")
    ap.add_argument("--map")
    a, rest = ap.parse_known_args()
    exe = os.path.join(os.path.abspath(a.build), "bin/twzcrash")
    known = reasons()
    bad, used = check_linked(exe, known, a.build)
    ran = what_ran(exe, a, rest)
    if ran is None:
        return 1
    addrs, jumps = sites(exe)  # a position-independent executable: offsets are addresses
    state, fns = collections.defaultdict(int), {}
    for addr, (path, no, fn) in zip(addrs, places(exe, addrs)):
        if path.startswith(PARTS):
            at = (path, int(no) if no.isdigit() else 0)
            state[at] |= ran.get(addr, 0)
            fns[at] = fn
    # Of the harness's own there may be some: a jump leaves no trace of who made it.
    by_jump = 0
    for path, no, fn in places(exe, jumps):
        if path.startswith(PARTS):
            print(f"jump   {path}:{no} {fn} stores by a jump, which is not seen: build with -fno-optimize-sibling-calls")
            by_jump += 1
    bad += by_jump
    count, about = collections.Counter(), collections.defaultdict(list)
    for (path, no), bits in sorted(state.items()):
        fn = fns[(path, no)]
        why = [k for k in ((path,), (path, fn)) if k in known]
        kind = "image" if bits & 2 else "other" if bits and not bits & 4 else "explained" if why else "never"
        count[kind] += 1
        used.update(why if kind == "explained" else ())
        if kind == "never" or (a.all and kind == "other") or (a.explained and kind == "explained"):
            print(f"{kind:6} {path}:{no} {fn}" + (": " + text_of(path, no) if a.explained else ""))
        bad += kind == "never"
        for k in why:
            about[k].append((no, bits))
    touched = {(path, fns[(path, no)]) for (path, no), bits in state.items() if bits & 2}
    media = {path: media_stores(path) for path, _ in state}
    for (path, no), bits in sorted(state.items()) if not rest else ():
        fn = fns[(path, no)]
        why = [known[k] for k in ((path,), (path, fn)) if k in known]
        if bits or not why or any(TEST.search(w) for w in why) or not ((path, fn) in touched or no in media[path]):
            continue
        print(f"bare   {path}:{no} {fn} may store to the image, and its reason names no test: {text_of(path, no)}")
        bad += 1
    tests = tests_there_are(a.build)
    for k in sorted(about):
        for wrong in check_reason(k, known[k], about[k], tests) if not rest else ():
            print(f"wrong  {' '.join(k)}: {wrong}; coverage.list says: {known[k]}")
            bad += 1
    for k in sorted(k for k in set(known) - used if not known[k].startswith(SOMETIMES) or not about[k]) if not rest else ():
        print("wrong ", " ".join(k), "is not needed in coverage.list any more")
        bad += 1
    if a.files:
        print_files(state)
    print(f"coverage: {sum(count.values())} lines that store: {count['image']} stored to the image between two crash points, "
          f"{count['other']} ran and stored elsewhere, {count['explained']} did not run and need not (coverage.list), "
          f"{count['never']} did not run; {by_jump} more are jumps, which are not seen")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
