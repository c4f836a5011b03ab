#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""resume.py -- a run of twzcrash that is killed at random, again and again, ends with the totals of one that was not

usage: resume.py --twzcrash BIN --transfer BIN [--seed N]
"""
import argparse
import os
import pty
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

RUN = ["core.object", "core.table", "tx.commit", "log.append", "engine.one", "--limit", "80", "--second", "16", "--kill-max", "500", "--jobs", "2"]


def totals(out):
    """What does not depend on time: the last lines, and what failed."""
    lines = [ln for ln in out.splitlines() if ln.startswith(("twzcrash: ", "distinct images"))]
    lines = [re.sub(r", [0-9.]+ s \([0-9.]+ s of work\)", "", ln) for ln in lines]
    return [ln for ln in lines if " runs, " in ln or ln.startswith("distinct")]


def start(cmd, **kw):
    return subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **kw)


def spoil(rng, state):
    """What a process killed while it wrote may leave behind the last whole record."""
    if os.path.exists(state) and os.path.getsize(state) > 32 and rng.random() < 0.5:
        with open(state, "ab") as f:
            f.write(rng.randbytes(rng.choice([1, 100, 5000])))


def killed(rng, cmd, state, longest):
    """Run CMD, killing it at random until it ends by itself: (output, exit status, kills, what it said was done before)"""
    kills, known = 0, []
    while True:
        p = start(cmd)
        try:
            out, _ = p.communicate(timeout=rng.random() * longest if kills < 40 else None)
        except subprocess.TimeoutExpired:
            if rng.random() < 0.3:
                p.kill()  # the one that has the state, only
            else:
                os.killpg(p.pid, signal.SIGKILL)
            out, _ = p.communicate()
            kills += 1
            spoil(rng, state)
            out = None
        if out is not None:
            known += [int(n) for n in re.findall(r": (\d+) of \d+ runs were done before", out)]
            return out, p.returncode, kills, known


def compare(rng, name, cmd, dir_, expect):
    whole, parts = f"{dir_}/{name}.whole", f"{dir_}/{name}.parts"
    t0 = time.time()
    r = subprocess.run(cmd + ["--state", whole], capture_output=True, text=True)
    longest = max(0.3, (time.time() - t0) * 0.6)
    for _ in range(8):
        out, rc, kills, known = killed(rng, cmd + ["--state", parts], parts, longest)
        if kills:
            break
        os.unlink(parts)  # quicker than the first time
        longest /= 2
    print(f"{name}: killed {kills} times; the last part found done before: {known}")
    for ln in totals(out):
        print("  " + ln)
    if r.returncode != expect or rc != expect:
        return [f"{name}: exit status {r.returncode} and {rc}, not {expect}: {r.stdout[-1000:]} {out[-1000:]}"]
    if totals(out) != totals(r.stdout) or not totals(out):
        return [f"{name}: other totals: {totals(out)} after kills, {totals(r.stdout)} without"]
    # finished: the same again, at once
    again = subprocess.run(cmd + ["--state", parts], capture_output=True, text=True)
    if totals(again.stdout) != totals(out) or again.returncode != expect:
        return [f"{name}: other totals when it was finished: {totals(again.stdout)}"]
    return [] if kills else [f"{name}: it was never killed: nothing was tested"]


def until_round(cmd, n):
    """Run until round N begins, then kill it: what it had said."""
    p = start(cmd)
    said = []
    for ln in p.stdout:
        said.append(ln)
        if ln.startswith(f"round {n}:"):
            break
    os.killpg(p.pid, signal.SIGKILL)
    p.communicate()
    return "".join(said)


def rounds(bin_, seed, dir_):
    """`long` goes on in the round it was in, and adds to what the others had."""
    cmd = [bin_, "long", "core.table", "--media", "line", "--limit", "60", "--seed", str(seed), "--state", f"{dir_}/long"]
    first, second = until_round(cmd, 3), until_round(cmd, 4)
    print("long: " + (totals(second) or ["nothing"])[-1])
    if "1 of 1 runs were done before" not in second or totals(second)[:len(totals(first))] != totals(first):
        return [f"long: does not go on: {first[-600:]} then {second[-600:]}"]
    return [] if len(totals(second)) > len(totals(first)) else ["long: no further round"]


def refused(bin_, seed, dir_):
    """A file of somebody else's is left alone; a state that cannot be written is no success."""
    cmd = [bin_, "run", "core.object", "core.table", "--limit", "20", "--jobs", "1", "--seed", str(seed), "--state"]
    other, full = f"{dir_}/other", f"{dir_}/full"
    with open(other, "w") as f:
        f.write("hours of somebody's work\n")
    r = subprocess.run(cmd + [other], capture_output=True, text=True)
    wrong = []
    if not r.returncode or "is no state of a run" not in r.stderr or open(other).read() != "hours of somebody's work\n":
        wrong.append(f"a foreign file: {r.returncode} {r.stdout[-300:]} {r.stderr[-300:]}")
    p = subprocess.Popen(cmd + [full, "--limit", "2000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, restore_signals=False)
    while p.poll() is None and not open(f"/proc/{p.pid}/task/{p.pid}/children").read():
        time.sleep(0.001)
    if p.poll() is None:  # SIGXFSZ is ignored, as Python does; the job under way has its own limit
        resource.prlimit(p.pid, resource.RLIMIT_FSIZE, (64, 64))
    out, err = p.communicate()
    if p.returncode != 2 or "cannot write it" not in err:
        wrong.append(f"a state that cannot be written: {p.returncode} {out[-300:]} {err[-300:]}")
    return wrong


def mutants(bin_, seed, dir_):
    """The state of `mutants`: kept, begun anew with other options, and nobody else's file is touched."""
    cmd = [bin_, "mutants", "transfer.right", "--all", "1", "--limit", "60", "--media", "line", "--only", "< finish", "--state"]
    mine, other, torn = f"{dir_}/mutants", f"{dir_}/mutants.other", f"{dir_}/mutants.torn"
    wrong = []

    def run(file, s, *more):
        return subprocess.run(cmd + [file, "--seed", str(s), *more], capture_output=True, text=True)

    with open(torn, "w") as f:
        f.write("# mutan")
    first, again, anew, begun = run(mine, seed), run(mine, seed), run(mine, seed + 1), run(torn, seed)
    done = [ln for ln in first.stdout.splitlines() if ln.startswith("mutants: ") and "tried" in ln]
    if not done or "caught " not in first.stdout or begun.returncode != first.returncode:
        wrong.append(f"mutants: {first.returncode} {first.stdout[-300:]} {begun.returncode} {begun.stderr[-300:]}")
    if "caught  " in again.stdout or again.returncode != first.returncode:
        wrong.append(f"mutants: what was found is tried again: {again.stdout[-300:]}")
    if "begun anew" not in anew.stdout or "caught " not in anew.stdout:
        wrong.append(f"mutants: another seed: {anew.stdout[-300:]}")
    for text in ("hours of somebody's work\n", "\0", "# mutants, a list\n"):
        with open(other, "w") as f:
            f.write(text)
        r = run(other, seed)
        if r.returncode != 2 or "is no state of a run" not in r.stderr or open(other).read() != text:
            wrong.append(f"mutants: a foreign file: {r.returncode} {r.stdout[-300:]} {r.stderr[-300:]}")
    p = subprocess.run(cmd + [f"{dir_}/nowhere/state", "--seed", str(seed)], capture_output=True, text=True)
    if p.returncode != 2:
        wrong.append(f"mutants: no place for a state: {p.returncode} {p.stderr[-300:]}")
    return wrong


def said_before(cmd):
    r = subprocess.run(cmd, capture_output=True, text=True)
    return r.returncode, sum(int(n) for n in re.findall(r": (\d+) of \d+ runs were done before", r.stdout)), r.stdout + r.stderr


def plans(bin_, seed, dir_):
    """What was done under another plan does not count, however late the plans differ; nor under another head."""
    opts = ["--media", "line", "--limit", "10", "--jobs", "1"]
    long_names = ["core.journal_laps"] * 60
    state, wrong = f"{dir_}/plan", []
    for name in ("core.object", "core.table"):
        rc, before, out = said_before([bin_, "run"] + long_names + [name, "--seed", str(seed), "--state", state] + opts)
        if rc or before or f"{name} " not in out:
            wrong.append(f"plans of over 1,000 characters: {name}: {rc}, {before} done before: {out[-500:]}")
    cmd = [bin_, "run", "core.object"] + opts
    for s in (seed, seed + 1):
        said_before(cmd + ["--seed", str(s), "--state", f"{dir_}/seed{s}"])
    one, other = (open(f"{dir_}/seed{s}", "rb").read() for s in (seed, seed + 1))
    head = 32
    changed = bytearray(one)
    changed[16] ^= 1  # the seed
    for what, data in (("records of another seed", one[:head] + other[head:]), ("another seed in its head", bytes(changed))):
        with open(state, "wb") as f:
            f.write(data)
        rc, before, out = said_before(cmd + ["--state", state])
        if rc or before:
            wrong.append(f"{what}: {rc}, {before} done before: {out[-500:]}")
    with open(state, "wb") as f:
        f.write(one)
    rc, before, out = said_before(cmd + ["--state", state])
    if rc or before != 1 or f"seed {seed}," not in out:
        wrong.append(f"an unchanged state: {rc}, {before} done before: {out[-500:]}")
    return wrong


def no_processes(bin_):
    """When no process can be started the run ends, and is no success. The limit holds for nobody who is root."""
    fd = os.open(bin_, os.O_RDONLY)
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(into, 1)
            os.dup2(into, 2)
            os.chdir("/")
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(54321)
                os.setuid(54321)
            os.execve(fd, ["twzcrash", "run", "core.object", "--limit", "5"], {"SEED": "1"})
        except OSError as e:
            print("no_processes:", e, flush=True)
        os._exit(77)
    os.close(into)
    os.close(fd)
    text, status, until = b"", None, time.time() + 20
    while status is None and time.time() < until:
        got, st = os.waitpid(pid, os.WNOHANG)
        status = os.waitstatus_to_exitcode(st) if got else None
        time.sleep(0.02)
    if status is None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    os.set_blocking(out, False)
    try:
        text = os.read(out, 65536)
    except BlockingIOError:
        pass
    os.close(out)
    print("no processes:", status, text.decode(errors="replace").strip().splitlines()[-1:])
    if status == 77:  # it may not be executed by another user, or namespaces are in the way
        return []
    return [] if status == 2 and b"cannot start a process" in text else [f"no process can be started: {status} {text!r}"]


def progress(bin_, seed):
    """On a terminal it says how far it is; nothing of that goes into a file."""
    master, slave = pty.openpty()
    p = subprocess.Popen([bin_, "run", "engine.one", "--limit", "3000", "--seed", str(seed), "--jobs", "1"], stdout=subprocess.PIPE, stderr=slave, text=True)
    os.close(slave)
    said = b""
    while b"time left: " not in said or b" s\x1b" not in said:
        try:
            data = os.read(master, 4096)
        except OSError:
            break
        if not data:
            break
        said += data
    p.terminate()
    out, _ = p.communicate()
    os.close(master)
    print("progress:", said.decode(errors="replace").replace("\x1b[K", "").split("\r")[-2:])
    if not re.search(rb"\d+ %, \d+ images/s, time left: [0-9hmins ]+", said) or "images/s" in out:
        return [f"progress on a terminal: {said!r}"]
    return []


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--twzcrash", required=True)
    ap.add_argument("--transfer", required=True)
    ap.add_argument("--seed", type=int, default=int(os.environ.get("SEED", time.time_ns() // 1000 % 10**9)))
    a = ap.parse_args()
    rng = random.Random(a.seed)
    print(f"resume SEED={a.seed}", flush=True)
    with tempfile.TemporaryDirectory() as d:
        wrong = compare(rng, "run", [a.twzcrash, "run"] + RUN + ["--seed", str(a.seed)], d, 0)
        wrong += compare(rng, "broken", [a.transfer, "run", "--limit", "150", "--seed", str(a.seed), "--keep", d], d, 1)
        wrong += refused(a.twzcrash, a.seed, d)
        wrong += mutants(a.transfer, a.seed, d)
        wrong += plans(a.twzcrash, a.seed, d)
        wrong += no_processes(a.twzcrash)
        wrong += rounds(a.twzcrash, a.seed, d)
        wrong += progress(a.twzcrash, a.seed)
    for w in wrong:
        print("FAIL:", w)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
