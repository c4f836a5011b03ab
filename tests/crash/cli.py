#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cli.py -- what twzcrash and twzcampaign do when they are asked wrongly: never something else, and then "ok"

usage: cli.py --twzcrash FILE --twzcampaign FILE
"""
import argparse
import os
import subprocess
import sys
import tempfile

WORD = ["run", "core.word", "--limit", "20", "--seed", "1"]
WRONG = (  # arguments, what it must say
    (WORD + ["nosuch"], "no such workload: nosuch"),
    (WORD + ["engine.nosuch"], "no such workload: engine.nosuch"),
    (WORD + ["core.wor"], "no such workload: core.wor"),
    (WORD + ["core.word"] * 64, "more names than there is room for: core.word"),
    (["run", "core.word", "--media", "kill"], "has that medium: core.word"),
    (["quick", "huge"], "is quick: huge"),
    (["flushes", "nosuch"], "no such workload: nosuch"),
    (["thrice", "nosuch"], "no such workload: nosuch"),
    (["mutants", "nosuch"], "no such workload: nosuch"),
    (["long", "nosuch"], "no such workload: nosuch"),
    (WORD + ["--limit", "abc"], "takes a number: --limit"),
    (WORD + ["--limit", "20x"], "takes a number: --limit"),
    (WORD + ["--limit", ""], "takes a number: --limit"),
    (WORD + ["--limit", "-1"], "takes a number: --limit"),
    (WORD + ["--require", "1e6"], "takes a number: --require"),
    (WORD + ["--jobs", "4294967296"], "takes a number: --jobs"),
    (WORD + ["--seed", "18446744073709551616"], "takes a number: --seed"),
    (WORD + ["--list", "2"], "takes 0 or 1: --list"),
    (WORD + ["--all", "2"], "takes 0 or 1: --all"),
    (WORD + ["--media", "disk"], "no such medium: disk"),
    (WORD + ["--limit"], "needs a value: --limit"),
    (WORD + ["--nosuch", "1"], "no such option: --nosuch"),
    (["nosuch"], "no such command"),
    ([], "no command"),
)
RIGHT = (
    (["--help"], "usage: twzcrash"),
    (["run", "--help"], "usage: twzcrash"),
    (["list", "core"], "core.word"),
    (WORD, " 0 failed; "),
    (WORD + ["--limit", "0"], " 0 reopenings"),  # on purpose
    (WORD + ["--limit", "0x14"], " 0 failed; "),
)

SHORT = ["--kills", "1000000", "--seconds", "1", "--seed", "1"]
CAMPAIGN = (  # exit status, arguments, what it must say
    (2, ["--kils", "3"], "no such option: --kils"),
    (2, SHORT + ["more"], "no such option: more"),
    (2, SHORT + ["--kills"], "needs a value: --kills"),
    (2, ["--kills", "many"], "takes a number: --kills"),
    (2, ["--kills", "-1"], "takes a number: --kills"),
    (2, ["--seconds", "1.5"], "takes a number: --seconds"),
    (2, ["--full", "48M"], "takes a number: --full"),
    (3, SHORT, "of 1000000 deaths beside others"),
)


def campaign(exe, keep):
    wrong = []
    for status, args, said in CAMPAIGN:
        how = [exe] if exe.endswith("twzcampaign") else [exe, "campaign"]
        p = subprocess.run(how + args + (["--dir", keep] if args == SHORT else []), cwd=keep, capture_output=True, text=True, timeout=120)
        out = p.stdout if status == 3 else p.stderr
        if p.returncode != status or said not in out:
            wrong.append(f"{os.path.basename(exe)} {' '.join(args)}: exit status {p.returncode}, not {status}, with {said!r}: {(p.stderr + p.stdout)[-400:]}")
        elif status == 2 and "campaign SEED" in p.stdout:
            wrong.append(f"{os.path.basename(exe)} {' '.join(args)}: it ran something")
    return wrong


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--twzcrash", required=True)
    ap.add_argument("--twzcampaign", required=True)
    a = ap.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as keep:
        for status, cases in ((2, WRONG), (0, RIGHT)):
            for args, said in cases:
                p = subprocess.run([a.twzcrash] + args, cwd=keep, capture_output=True, text=True, timeout=20)
                out = p.stderr if status else p.stdout
                if p.returncode != status or said not in out:
                    wrong.append(f"{' '.join(args)[:100]}: exit status {p.returncode}, not {status}, with {said!r}: {out[:300]}")
                elif status and "reopenings" in p.stdout:
                    wrong.append(f"{' '.join(args)[:100]}: it ran something")
        wrong += campaign(a.twzcampaign, keep) + campaign(a.twzcrash, keep)
    print("\n".join("FAIL: " + w for w in wrong) or f"arguments: of twzcrash {len(WRONG)} wrong and {len(RIGHT)} right ones, of twzcampaign {len(CAMPAIGN)}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
