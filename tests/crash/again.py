#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""again.py -- what a failure says: why, the event of the crash, an image that is kept, and a command that fails in the same way

usage: again.py --toys FILE

Each program of toy.c here is wrong in one way only, which only one way of opening an image shows, or only the recording of a recovery.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

EVENT = r"crash (?:after|during) event \d+: \w+ \(toy\.c:\d+\)"
SECOND = EVENT + r".*; its image is right: "
CASES = (  # workload, options, what is said of it, what the command says, an option of that command
    ("toy.third", ["--second", "1", "--third", "1", "--second-limit", "100000"], EVENT, r"state after recovery is none of", "--how "),
    ("toy.twice", [], EVENT, r"state after recovery is none of", "--how twice"),
    ("toy.stuck", [], EVENT, r"cannot be written any more", "--how twice"),
    ("toy.reads", [], EVENT, r"opened to be read only: state", "--how read"),
    ("toy.writes", [], EVENT, r"read only has changed the file", "--how read"),
    ("toy.copied", [], EVENT, r"a copy is not recovered", "--how copy"),
    ("toy.hang", ["--timeout", "2"], EVENT, r"no end \(timeout\)", "--how"),
    ("toy.again", ["--second", "1"], SECOND, r"nothing can be done after a recovery", "--crash 1"),
    ("toy.again_hangs", ["--second", "1", "--timeout", "2"], SECOND, r"no end \(timeout\)", "--crash 1"),
    ("toy.recorded", ["--second", "1"], SECOND, r"Aborted", "--crash 1"),
    ("toy.unhooked_recovery", ["--second", "1"], SECOND, r"changed without a hook", "--crash 1"),
)
THRICE = (
    ("toy.third", [], r"image \d+, left by crash 3: ", r"state after recovery is none of", "--how"),
    ("toy.recorded", [], r"Aborted while a recovery was recorded", "", "--crash 1"),
    ("toy.copied", [], r"image \d+, left by crash \d: ", r"a copy is not recovered", "--how copy"),
)


def run(command):
    p = subprocess.run(command, capture_output=True, text=True, timeout=100)
    return p.returncode, p.stdout + p.stderr


def wrong_with(command, said, why, option, media):
    """What is wrong with what COMMAND says, and with the command that it prints; None: nothing."""
    status, out = run(command)
    again = re.findall(r"^ *again: (.*)$", out, re.M)
    if status != 1 or not re.search(said, out, re.S) or not re.search(why, out) or not re.search("^FAIL .*--seed 1: .*[a-z]", out, re.M):
        return f"{' '.join(command)}: exit status {status}, not 1, with {said!r} and {why!r}: {out}"
    if len(again) != 1 or option not in again[0] or f"--media {media} " not in again[0]:
        return f"{' '.join(command)}: one command with {option!r} to see it again: {out}"
    if not os.path.getsize(re.search(r"--image (\S+)", again[0]).group(1)):
        return f"{' '.join(command)}: no image was kept: {out}"
    if "does not fail every time" in out:
        return f"{' '.join(command)}: it does not fail every time: {out}"
    once = again[0].split() + (["--timeout", "2"] if "hang" in again[0] else [])
    status, seen = run(once)
    # by a signal, or by what it found; 2: it was asked wrongly
    if status in (0, 2) or (status == 1 and not re.search("WRONG: .*" + why, seen)):
        return f"{' '.join(once)}: exit status {status}, without {why!r}: {seen}"
    return None


def not_finished(toys, keep):
    """It has not ended, and no image is wrong: it says just that."""
    status, out = run([toys, "thrice", "toy.slow", "--media", "line", "--seed", "1", "--seconds", "1", "--keep", keep])
    if status == 1 and re.search(r"^FAIL toy.slow .*not finished after 1 s of processor time \(--seconds\)$", out, re.M) and "again:" not in out:
        return None
    return f"thrice --seconds 1: exit status {status}: {out}"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--toys", required=True)
    a = ap.parse_args()
    with tempfile.TemporaryDirectory() as keep, concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(not_finished, a.toys, keep)]
        for how, cases in (("run", CASES), ("thrice", THRICE)):
            for name, options, said, why, option in sorted(cases, key=lambda c: "hang" not in c[0]):
                # what hangs takes as long as it is waited for: once will do
                for media in ("line", "page") if "hang" not in name else ("line",):
                    command = [a.toys, how, name, "--media", media, "--seed", "1", "--keep", os.path.join(keep, how)] + options
                    os.makedirs(command[-1 - len(options)], exist_ok=True)
                    jobs.append(pool.submit(wrong_with, command, said, why, option, media))
        bad = [wrong for wrong in (j.result() for j in jobs) if wrong]
    print("\n".join("FAIL: " + b for b in bad) or f"failures: {len(CASES) + len(THRICE)} ways to be wrong are told, and seen again by the command")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
