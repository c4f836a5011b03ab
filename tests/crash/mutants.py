#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mutants.py -- break each rule of docs/durability.md by hand, in two ways, and see the tests fail

usage: mutants.py --build DIR [--jobs N] [--sample N] [--seed S] [--list] [NAME...]

A mutant is one source file of the product with one place changed. The file is compiled as the build
compiles it and linked before the libraries, so that its copy in them is not used: the tree and the
build directory stay as they are. Then the command runs; it must fail. One that passes is a survivor:
a test is missing. NAME: a mutant, or a rule (D5). The list is in mutants_list.py.
"""
import argparse
import concurrent.futures
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time

from mutants_list import MUTANTS, OPEN

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def commands(build, target):
    out = subprocess.run(["ninja", "-C", build, "-t", "commands", target], capture_output=True, text=True,
                         check=True).stdout
    return out.splitlines()


def mutate(m, path):
    text = open(os.path.join(ROOT, m.file)).read()
    if text.count(m.old) != 1:
        raise ValueError(f"{m.name}: its place is {text.count(m.old)} times in {m.file}: bring mutants_list.py up to date")
    with open(path, "w") as f:
        f.write(text.replace(m.old, m.new))


def compile_line(lines, m, src, obj):
    # The library's own compilation of the file, in the flavour this target is linked with.
    lib = "crash_twz"
    hits = [l for l in lines if f" -c {ROOT}/{m.file}" in l and (lib in l or m.target != "twzcrash")]
    if not hits:
        raise ValueError(f"{m.name}: {len(hits)} ways to compile {m.file}")
    cmd = shlex.split(hits[0])
    for flag in ("-MT", "-MF"):
        i = cmd.index(flag)
        del cmd[i:i + 2]
    cmd.remove("-MD")
    cmd[cmd.index("-o") + 1] = obj
    cmd[cmd.index("-c") + 1] = src
    cmd.insert(1, "-I" + os.path.dirname(os.path.join(ROOT, m.file)))
    return cmd + ["-Wno-error", "-w"]


def link_line(lines, obj, exe):
    # ": && cc FLAGS OBJECTS -o EXE LIBRARIES && :": ours before the libraries.
    cmd = shlex.split(lines[-1])
    cmd = cmd[2:-2]
    i = cmd.index("-o")
    cmd[i + 1] = exe
    cmd.insert(i, obj)
    return cmd


def run(m, build, tmp, lines):
    base = os.path.join(tmp, m.name)
    src, obj, exe = base + ".c", base + ".o", base + ".exe"
    mutate(m, src)
    for cmd in (compile_line(lines, m, src, obj), link_line(lines, obj, exe)):
        p = subprocess.run(cmd, cwd=build, capture_output=True, text=True)
        if p.returncode:
            return None, p.stderr.strip().splitlines()[:3]
    env = dict(os.environ, SEED="1")
    t0 = time.time()
    said = []
    for args in m.commands:
        p = subprocess.run([exe] + args + (["--jobs", "1", "--keep", tmp] if m.target == "twzcrash" else []),
                           cwd=tmp, capture_output=True, text=True, errors="replace", env=env, timeout=600)
        if p.returncode:
            said = [l for l in (p.stdout + p.stderr).splitlines() if "FAIL" in l or "Assert" in l or "check" in l]
            break
    os.unlink(exe)
    return bool(p.returncode), [f"{time.time() - t0:.1f} s"] + said[:1]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", required=True)
    ap.add_argument("--jobs", type=int, default=os.cpu_count())
    ap.add_argument("--sample", type=int, default=0)
    ap.add_argument("--seed", type=int, default=int(os.environ.get("SEED", time.time_ns() // 1000000)))
    ap.add_argument("--list", action="store_true")
    ap.add_argument("names", nargs="*")
    a = ap.parse_args()
    build = os.path.abspath(a.build)
    chosen = [m for m in MUTANTS if not a.names or m.name in a.names or m.rule in a.names]
    if a.list:
        for m in chosen:
            print(f"{m.rule:4} {m.name:26} {m.file:28} {m.why}")
        return 0
    if a.sample:
        chosen = [m for m in chosen if m.name not in OPEN]
        chosen = random.Random(a.seed).sample(chosen, min(a.sample, len(chosen)))
    print(f"mutants.py: {len(chosen)} of {len(MUTANTS)} hand-made mutants, seed {a.seed}")
    lines = {t: commands(build, t) for t in {m.target for m in chosen}}
    bad = 0
    with tempfile.TemporaryDirectory(prefix="twz-mutants-", dir="/tmp") as tmp:
        with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
            futures = {pool.submit(run, m, build, tmp, lines[m.target]): m for m in chosen}
            for f in concurrent.futures.as_completed(futures):
                m = futures[f]
                try:
                    caught, said = f.result()
                except subprocess.TimeoutExpired:
                    caught, said = True, ["it never ended"]
                except ValueError as e:
                    caught, said = None, [str(e)]
                bad += caught is not True
                what = {True: "caught", False: "SURVIVED", None: "BROKEN"}[caught]
                print(f"{what:8} {m.rule:4} {m.name:26} {' '.join(said)[:150]}", flush=True)
    print(f"mutants.py: {len(chosen) - bad} of {len(chosen)} caught")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
