#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mutants.py -- break each rule of docs/durability.md by hand, in two ways, and see the tests fail

usage: mutants.py --build DIR [--jobs N] [--sample N] [--seed S] [--list | --table] [NAME...]

A mutant is one source file of the product with one place changed. The file is compiled as the build
compiles it and linked before the libraries, so that its copy in them is not used: the tree and the
build directory stay as they are. Then the command runs; it must fail, and by a failed test: one that
was skipped, never ended or did not understand its arguments has shown nothing, and is BROKEN, as is
one that fails without the mutant, or that runs no test. One that passes is a survivor: a test is
missing. NAME: a mutant, or a rule (D5). The list is in mutants_list.py; each rule of docs/durability.md
must have two there that twzcrash catches, and README.md the table that --table prints.
"""
import argparse
import collections
import concurrent.futures
import glob
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

from mutants_list import MUTANTS

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def commands(build, target):
    out = subprocess.run(["ninja", "-C", build, "-t", "commands", target], capture_output=True, text=True,
                         check=True).stdout
    return out.splitlines()


def misplaced(m, text):
    n = text.count(m.old)
    return "" if n == 1 else f"{m.name}: its place is {n} times in {m.file}: bring mutants_list.py up to date"


def mutate(m, path):
    text = open(os.path.join(ROOT, m.file)).read()
    if misplaced(m, text):
        raise ValueError(misplaced(m, text))
    with open(path, "w") as f:
        f.write(text.replace(m.old, m.new))


def source(m):
    """The file that is compiled: the mutated one, or if that is a header one that includes it."""
    return m.via or m.file


def compile_line(lines, m, src, obj):
    # The library's own compilation of the file, in the flavour this target is linked with.
    lib = "crash_twz"
    hits = [l for l in lines if f" -c {ROOT}/{source(m)}" in l and (lib in l or m.target != "twzcrash")]
    if not hits:
        raise ValueError(f"{m.name}: no way to compile {source(m)}")
    cmd = shlex.split(hits[0])
    for flag in ("-MT", "-MF"):
        i = cmd.index(flag)
        del cmd[i:i + 2]
    cmd.remove("-MD")
    cmd[cmd.index("-o") + 1] = obj
    cmd[cmd.index("-c") + 1] = src
    for folder in {os.path.dirname(os.path.join(ROOT, f)) for f in (m.file, source(m))}:
        cmd.insert(1, "-I" + folder)
    return cmd + ["-Wno-error", "-w"]


def link_line(lines, m, obj, exe):
    # ": && cc FLAGS OBJECTS -o EXE LIBRARIES && :": ours before the libraries, or instead of its own object.
    cmd = shlex.split(lines[-1])
    cmd = [c for c in cmd[2:-2] if not (m.via and c.endswith("/" + os.path.basename(m.via) + ".o"))]
    i = cmd.index("-o")
    cmd[i + 1] = exe
    cmd.insert(i, obj)
    return cmd


def build_mutant(m, build, tmp, lines):
    """Its executable."""
    folder = os.path.join(tmp, m.name)
    os.mkdir(folder)
    obj, exe = os.path.join(folder, "mutant.o"), os.path.join(folder, "mutant.exe")
    src = os.path.join(folder, os.path.basename(source(m)))
    if m.via:
        # A header is found first beside who includes it, which other headers do, too.
        for h in glob.glob(os.path.join(ROOT, os.path.dirname(m.file), "*.h")):
            shutil.copy(h, folder)
        shutil.copy(os.path.join(ROOT, m.via), src)
    mutate(m, os.path.join(folder, os.path.basename(m.file)))
    for cmd in (compile_line(lines, m, src, obj), link_line(lines, m, obj, exe)):
        p = subprocess.run(cmd, cwd=build, capture_output=True, text=True)
        if p.returncode:
            raise ValueError("it cannot be built: " + " ".join(p.stderr.strip().splitlines()[:3]))
    return exe


TIMEOUT = 600
Outcome = collections.namedtuple("Outcome", "what said")  # what: passed, failed, hangs, broken


def execute(exe, target, args, tmp):
    """One command, with or without a mutant."""
    crash = target == "twzcrash"
    env = dict(os.environ, SEED="1")
    try:
        p = subprocess.run([exe] + list(args) + (["--jobs", "1", "--keep", tmp] if crash else []), cwd=tmp, capture_output=True,
                           text=True, errors="replace", env=env, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return Outcome("hangs", "it never ended")
    out = p.stdout + p.stderr
    said = [l.strip() for l in out.splitlines() if re.search(r"FAIL|Assert|check|\bfailed\b", l)][:1]
    if crash:
        ran = re.search(r"^twzcrash: [1-9]\d* runs, .* [1-9]\d* reopenings", out, re.M)
        failed = p.returncode == 1 and "FAIL" in out
    else:
        # CUnit's summary; a process that an assertion or a signal ended has none.
        ran = re.search(r"^\s*tests\s+\d+\s+[1-9]\d*", out, re.M)
        failed = p.returncode == 1 and ran or p.returncode in (-6, -7, -11)
    if failed:
        return Outcome("failed", said[0] if said else f"exit status {p.returncode}")
    if p.returncode == 0 and ran:
        return Outcome("passed", "")
    why = {0: "it ran no test", 77: "it was skipped", 2: "it did not understand its arguments"}.get(p.returncode, "it did not end as a failed test does")
    return Outcome("broken", f"{why} (exit status {p.returncode}): {' '.join(out.strip().splitlines()[-2:])}")


def run(m, build, tmp, lines, plain):
    """PLAIN: outcomes of the same commands without a mutant."""
    for args in m.commands:
        if plain[m.target, args].what != "passed":
            return Outcome("broken", "without the mutant: " + plain[m.target, args].what + " " + plain[m.target, args].said)
    exe, t0 = build_mutant(m, build, tmp, lines), time.time()
    got = Outcome("passed", "")
    for args in m.commands:
        got = execute(exe, m.target, args, tmp)
        if got.what != "passed":
            break
    os.unlink(exe)
    if got.what == "hangs" and m.hangs:
        got = Outcome("failed", got.said)
    return got._replace(said=f"{time.time() - t0:.1f} s {got.said}")


def rules_wrong():
    """Each rule of the document that is in use needs two mutants that twzcrash catches, and each mutant a rule, and its place in the sources."""
    with open(os.path.join(ROOT, "docs/durability.md")) as f:
        rules = {m[1]: m[2] for m in re.finditer(r"^\*\*(D\d+) — (.*)$", f.read(), re.M)}
    cnt = collections.Counter(m.rule for m in MUTANTS)
    crash = collections.Counter(m.rule for m in MUTANTS if m.target == "twzcrash")
    wrong = [] if len(rules) > 10 else ["docs/durability.md: the rules are not where they were"]
    for rule, text in rules.items():
        reserved = "*Reserved: not in use yet.*" in text
        if crash[rule] < 2 and not reserved:
            wrong.append(f"{rule} has {crash[rule]} mutants that the crash harness catches, and needs two")
        if cnt[rule] and reserved:
            wrong.append(f"{rule} has mutants, and docs/durability.md says that it is not in use")
    wrong += [f"{rule}: docs/durability.md has no such rule" for rule in cnt if rule not in rules]
    names = collections.Counter(m.name for m in MUTANTS)
    wrong += [f"{name}: {n} mutants have this name" for name, n in names.items() if n > 1]
    wrong += [w for m in MUTANTS if (w := misplaced(m, open(os.path.join(ROOT, m.file)).read()))]
    with open(os.path.join(ROOT, "tests/crash/README.md")) as f:
        readme = f.read()
    wrong += [f"tests/crash/README.md: its table lacks this row (mutants.py --table): {row}" for row in table() if row + "\n" not in readme]
    return wrong


def table():
    rules = sorted({m.rule for m in MUTANTS}, key=lambda r: int(r[1:]))
    return [f"| {r} | {', '.join(m.name for m in MUTANTS if m.rule == r)} |" for r in rules]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", required=True)
    ap.add_argument("--jobs", type=int, default=os.cpu_count())
    ap.add_argument("--sample", type=int, default=0)
    ap.add_argument("--seed", type=int, default=int(os.environ.get("SEED", time.time_ns() // 1000000)))
    ap.add_argument("--list", action="store_true")
    ap.add_argument("--table", action="store_true")
    ap.add_argument("names", nargs="*")
    a = ap.parse_args()
    build = os.path.abspath(a.build)
    chosen = [m for m in MUTANTS if not a.names or m.name in a.names or m.rule in a.names]
    if a.list:
        for m in chosen:
            print(f"{m.rule:4} {m.name:26} {m.file:28} {m.why}")
        return 0
    if a.table:
        print("\n".join(table()))
        return 0
    wrong = rules_wrong()
    for w in wrong:
        print(f"FAIL: {w}")
    for name in a.names:
        if not any(name in (m.name, m.rule) for m in MUTANTS):
            print(f"FAIL: {name}: no such mutant, and no such rule")
            wrong.append(name)
    if a.sample:
        chosen = random.Random(a.seed).sample(chosen, min(a.sample, len(chosen)))
    print(f"mutants.py: {len(chosen)} of {len(MUTANTS)} hand-made mutants, seed {a.seed}")
    lines = {t: commands(build, t) for t in {m.target for m in chosen}}
    bad = 0
    with tempfile.TemporaryDirectory(prefix="twz-mutants-", dir="/tmp") as tmp:
        with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
            todo = {(m.target, args) for m in chosen for args in m.commands}
            exe = {t: os.path.join(build, "bin/twzcrash" if t == "twzcrash" else t) for t in lines}
            plain = dict(zip(todo, pool.map(lambda c: execute(exe[c[0]], *c, tmp), todo)))
            print(f"mutants.py: {len(todo)} commands without a mutant, {sum(o.what == 'passed' for o in plain.values())} pass", flush=True)
            futures = {pool.submit(run, m, build, tmp, lines[m.target], plain): m for m in chosen}
            for f in concurrent.futures.as_completed(futures):
                m = futures[f]
                try:
                    got = f.result()
                except ValueError as e:
                    got = Outcome("broken", str(e))
                bad += got.what != "failed"
                what = {"failed": "caught", "passed": "SURVIVED"}.get(got.what, "BROKEN")
                print(f"{what:8} {m.rule:4} {m.name:26} {got.said[:200]}", flush=True)
    print(f"mutants.py: {len(chosen) - bad} of {len(chosen)} caught")
    return 1 if bad or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
