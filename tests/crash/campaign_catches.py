#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""campaign_catches.py -- does a campaign of real processes notice? (README.md, "Killed for real")

usage: campaign_catches.py --build DIR [--seed S] [NAME...]

Each of these is one source file with one place changed, linked before the libraries (mutants.py), so that twzcampaign runs on a
product that loses an acknowledged commit, or lets the wall clock decide. The campaign must fail, by what it
saw: the first wrong thing ends it, after a second or some. That it passes without is crash.campaign.*. What is wrong only for who
dies within some hundred nanoseconds is not for it (an heir that does not finish what a dead writer began: a thousand deaths
did not meet that on a calm machine), but for the deaths at each store of crash.images.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import time

import mutants
from mutants_list import Mutant

TARGET = "twzcampaign"
SECONDS = 60  # at most: more than it needs on a busy machine


def broken(rule, name, file, old, new, why, media):
    return Mutant(rule, name, file, old, new, why, TARGET, [(media,)], None, False)


BROKEN = (
    broken("D12", "acknowledged-when-staged", "engine/src/txn.c",
           "return !err && tx->writer && tx->flags & TWZDB_LAZY;", "return !err && tx->writer;",
           "a commit returns when it is staged, and is lost with all processes", "page"),
    broken("none", "wall-clock", "engine/src/lock.c",
           "clock_gettime(CLOCK_MONOTONIC, &ts);", "clock_gettime(CLOCK_REALTIME, &ts);",
           "who waits for the writer lock does so until a time of the wall clock, which is set meanwhile", "line"),
)


def campaign(exe, media, seed, folder):
    env = {k: v for k, v in os.environ.items() if k not in ("PMEM2_FORCE_GRANULARITY", "SEED")}
    if media == "line":
        env["PMEM2_FORCE_GRANULARITY"] = "CACHE_LINE"
    p = subprocess.run([exe, "--kills", "100000", "--seconds", str(SECONDS), "--seed", str(seed), "--dir", folder], env=env,
                       capture_output=True, text=True, errors="replace", timeout=4 * SECONDS)
    said = [l for l in p.stdout.splitlines() if l.startswith("FAIL")]
    # Not because of what it had no time for.
    noticed = p.returncode == 1 and said and not re.match("FAIL: did not happen", said[0])
    return noticed, said[0] if said else f"exit status {p.returncode}: " + " ".join((p.stdout + p.stderr).splitlines()[-1:])


def one(m, build, tmp, lines, seed):
    exe = mutants.build_mutant(m, build, tmp, lines)
    t0 = time.time()
    noticed, said = campaign(exe, m.commands[0][0], seed, os.path.join(tmp, m.name))
    return noticed, f"{time.time() - t0:.1f} s {said[:200]}"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", required=True)
    ap.add_argument("--seed", type=int, default=int(os.environ.get("SEED", time.time_ns() // 1000000 % 1000000)))
    ap.add_argument("names", nargs="*")
    a = ap.parse_args()
    build = os.path.abspath(a.build)
    chosen = [m for m in BROKEN if not a.names or m.name in a.names]
    missed = 0 if chosen else 1
    lines = mutants.commands(build, TARGET)
    print(f"campaign_catches.py: {len(chosen)} broken products, seed {a.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="twz-catches-", dir="/dev/shm") as tmp, concurrent.futures.ThreadPoolExecutor(2) as pool:
        futures = {pool.submit(one, m, build, tmp, lines, a.seed): m for m in chosen}
        for f in concurrent.futures.as_completed(futures):
            m = futures[f]
            try:
                noticed, said = f.result()
            except ValueError as e:
                noticed, said = False, str(e)
            missed += not noticed
            print(f"{'caught' if noticed else 'MISSED':8} {m.name:26} {said}", flush=True)
    print(f"campaign_catches.py: {len(chosen) - missed} of {len(chosen)} caught")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
