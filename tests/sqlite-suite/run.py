#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run SQLite's own test suite on the VFS "twz" and compare with the list of expected failures.

Each file of the suite runs in a process and a directory of its own, with a timeout, as an
unprivileged user. Results are kept beside the test program; with --resume only files without a
result for this very program are run again.
"""
import argparse
import fnmatch
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NOBODY = 65534
CLASSES = "WHJLU"
SUM = re.compile(r"^(\d+) errors out of (\d+) tests", re.M)
NAMES = re.compile(r"^!Failures on these tests: (.*)$", re.M)
# What no expected failure may end in, whatever the test wanted.
NEVER = re.compile(r"malformed|database disk image|Assertion .* failed|SQLITE_CORRUPT|AddressSanitizer")


def expectations(path):
    """[(file, test pattern, class, reason)]; see expected.txt for the format."""
    out = []
    cls = reason = None
    with open(path) as f:
        for n, line in enumerate(f, 1):
            line = line.split("#", 1)[0].rstrip()
            if not line:
                continue
            if not line[0].isspace():
                cls, _, reason = line.partition(" ")
                if cls not in CLASSES or len(cls) != 1 or not reason.strip():
                    sys.exit(f"{path}:{n}: want 'CLASS reason' with a class of {CLASSES}")
                continue
            words = line.split()
            out += [(words[0].rstrip(":"), w, cls, reason) for w in words[1:]]
    return out


def switches(path):
    """{file: [switch]}; see switches.txt."""
    out = {}
    with open(path) as f:
        for line in f:
            words = line.split("#", 1)[0].split()
            if words:
                out[words[0]] = words[1].split(",")
    return out


def scratch_dir():
    """Stores in shared memory run with cache-line granularity, and fast."""
    shm = "/dev/shm"
    if os.path.isdir(shm) and os.access(shm, os.W_OK):
        st = os.statvfs(shm)
        if st.f_bavail * st.f_frsize > 1 << 30:
            return tempfile.mkdtemp(prefix="twz-sqlite-suite.", dir=shm), True
    return tempfile.mkdtemp(prefix="twz-sqlite-suite."), False


class Suite:
    def __init__(self, args):
        self.args = args
        self.dir, self.shm = scratch_dir()
        os.chmod(self.dir, 0o755)
        self.root = os.geteuid() == 0
        self.env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": self.dir, "LANG": "C.UTF-8",
                    "TZ": os.environ.get("TZ", "UTC")}
        if self.shm:
            self.env["PMEM2_FORCE_GRANULARITY"] = "CACHE_LINE"
        self.build = os.path.abspath(args.build)
        self.results = os.path.join(self.build, "results")
        os.makedirs(self.results, exist_ok=True)
        self.lock = threading.Lock()
        self.done = {}
        self.switch = switches(os.path.join(HERE, "switches.txt"))
        self.stage()

    def as_user(self):
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if self.root else {}

    def stage(self):
        """Where the unprivileged user can read it; the suite refuses to run as root."""
        self.prog = os.path.join(self.dir, "testfixture")
        shutil.copy2(os.path.join(self.build, "testfixture"), self.prog)
        self.key = hashlib.sha256(open(self.prog, "rb").read()).hexdigest()
        for f in ("wrap.tcl", "list.tcl", "switches.txt"):
            shutil.copy(os.path.join(HERE, f), self.dir)
            self.key += hashlib.sha256(open(os.path.join(HERE, f), "rb").read()).hexdigest()[:8]
        self.src = os.path.join(self.build, "sqlite")
        probe = subprocess.run(["test", "-r", os.path.join(self.src, "test", "tester.tcl")], check=False, **self.as_user())
        if probe.returncode != 0:
            there = os.path.join(self.dir, "sqlite")
            for d in ("test", "ext"):
                shutil.copytree(os.path.join(self.src, d), os.path.join(there, d), symlinks=True)
            self.src = there

    def new_dir(self, name):
        d = os.path.join(self.dir, "run." + name)
        os.makedirs(d)
        if self.root:
            os.chown(d, NOBODY, NOBODY)
        return d

    def files(self):
        d = self.new_dir("list")
        out = subprocess.run([self.prog, os.path.join(self.dir, "list.tcl"), os.path.join(self.src, "test")], cwd=d,
                             env=self.env, stdout=subprocess.PIPE, check=True, text=True, **self.as_user()).stdout
        shutil.rmtree(d, ignore_errors=True)
        return out.split()

    def path_of(self, name):
        for d in ["test"] + ["ext/%s/test" % e for e in ("fts5", "rbu", "session", "expert", "recover")] + ["ext/rtree", "ext/lsm1/test"]:
            p = os.path.join(self.src, d, name)
            if os.path.exists(p):
                return p
        for base, _, names in os.walk(os.path.join(self.src, "ext")):
            if name in names:
                return os.path.join(base, name)
        sys.exit(f"run.py: the suite has no file {name}")

    def run(self, name):
        keep = os.path.join(self.results, name + ".json")
        if self.args.resume and os.path.exists(keep):
            with open(keep) as f:
                r = json.load(f)
            if r.get("key") == self.key and r["end"] == "ok":
                return r
        d = self.new_dir(name)
        log = os.path.join(self.results, name + ".log")
        start = time.time()
        env = dict(self.env, TWZ_SUITE_SWITCH=",".join(self.switch.get(name, [])))
        with open(log, "wb") as out:
            p = subprocess.Popen([self.prog, os.path.join(self.dir, "wrap.tcl"), self.path_of(name)], cwd=d, env=env,
                                 stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                 start_new_session=True, **self.as_user())
            try:
                p.wait(self.args.timeout)
                end = "ok"
            except subprocess.TimeoutExpired:
                end = "hang"
            try: # and whatever it left running
                os.killpg(p.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            p.wait()
        shutil.rmtree(d, ignore_errors=True)
        r = self.judge(name, log, end, p.returncode)
        r.update(key=self.key, seconds=round(time.time() - start, 2))
        with open(keep, "w") as f:
            json.dump(r, f)
        return r

    @staticmethod
    def judge(name, log, end, rc):
        with open(log, errors="replace") as f:
            text = f.read()
        m = SUM.search(text)
        names = NAMES.search(text)
        failed = names.group(1).split() if names else []
        if end == "ok" and rc < 0:
            end = "crash"
        elif end == "ok" and not m and rc:
            end = "abort"  # a Tcl error: the rest of the file did not run
        bad = []
        for line in re.findall(r"^! (\S+) got: *(.*)$", text, re.M):
            if NEVER.search(line[1]):
                bad.append(line[0])
        return {"name": name, "end": end, "tests": int(m.group(2)) if m else 0, "failed": failed, "never": bad}


def is_listed(exp, used, name, test):
    hit = False
    for i, (f, pat, _, _) in enumerate(exp):
        if f == name and fnmatch.fnmatchcase(test, pat):
            used.add(i)
            hit = True
    return hit


def verdict(r, exp, used):
    """What of this file's result nobody expects."""
    out = []
    for t in r["failed"]:
        if not is_listed(exp, used, r["name"], t):
            out.append(t)
        elif t in r["never"]:
            out.append(t + " (ends in what no failure may end in)")
    if r["end"] == "abort":
        if not is_listed(exp, used, r["name"], "abort"):
            out.append("abort")
    elif r["end"] != "ok":
        out.append(r["end"])
    return out


def work(suite, todo, exp, used, state):
    while True:
        with suite.lock:
            if not todo:
                return
            name = todo.pop(0)
        r = suite.run(name)
        with suite.lock:
            bad = verdict(r, exp, used)
            suite.done[name] = r
            state["bad"] += [(name, b) for b in bad]
            n = len(suite.done)
            if bad:
                print(f"\n{name}: UNEXPECTED: {' '.join(bad[:12])}{' ...' if len(bad) > 12 else ''}", flush=True)
            if sys.stdout.isatty() or n % 50 == 0 or n == state["of"]:
                print(f"\r{n}/{state['of']} files, {sum(x['tests'] for x in suite.done.values())} tests, "
                      f"{len(state['bad'])} unexpected, {int(time.time() - state['start'])} s ",
                      end="" if sys.stdout.isatty() else "\n", flush=True)


def report(suite, exp, used, state, full):
    done = suite.done.values()
    tests = sum(r["tests"] for r in done)
    failed = sum(len(r["failed"]) for r in done)
    files = sorted(r["name"] for r in done if r["failed"] or r["end"] != "ok")
    # A file that leaves at its head counts one test: that it left no memory behind.
    none = sorted(r["name"] for r in done if r["tests"] <= 1 and r["end"] == "ok")
    print(f"\nfiles {len(suite.done)}, without any failure {len(suite.done) - len(files)}, with failures {len(files)}; "
          f"tests {tests}, failed {failed} ({100.0 * failed / max(tests, 1):.2f} %)")
    by = {}
    for i in used:
        by.setdefault(exp[i][2], set()).add(exp[i][0])
    print("expected failures by class: " + ", ".join(f"{c}: {len(by[c])} files" for c in sorted(by)))
    if full:
        print(f"files that found nothing to test (they need WAL, Windows, a journal on disk, or another build): {len(none)}")
        print("  " + " ".join(none))
    stale = [e for i, e in enumerate(exp) if i not in used and e[0] in suite.done]
    for f, t, c, _ in stale:
        print(f"listed but passed: {f} {t} ({c})")
    for name, b in state["bad"]:
        print(f"unexpected: {name}: {b}   (log: {suite.results}/{name}.log)")
    bound = 0
    if full:
        bound = len(files) > suite.args.max_files or failed * 100 > tests
        if bound:
            print(f"too many expected failures: at most {suite.args.max_files} files and 1 % of the tests")
    return 1 if state["bad"] or bound else 0


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--build", required=True, help="where prepare.sh built the test program")
    ap.add_argument("--quick", action="store_true", help="the files of quick.txt")
    ap.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    ap.add_argument("--timeout", type=int, default=240, help="seconds a file may take")
    ap.add_argument("--resume", action="store_true", help="keep the results there are for this program")
    ap.add_argument("--part", help="I/N: every N-th file, from the I-th (1..N)")
    ap.add_argument("--max-files", type=int, default=60, help="that may have an expected failure")
    ap.add_argument("files", nargs="*", help="files of the suite (patterns); none: all of veryquick")
    args = ap.parse_args()

    exp = expectations(os.path.join(HERE, "expected.txt"))
    suite = Suite(args)
    try:
        todo = suite.files()
        full = not (args.quick or args.files or args.part)
        if args.quick:
            with open(os.path.join(HERE, "quick.txt")) as f:
                want = set(f.read().split())
            missing = want - set(todo)
            if missing:
                sys.exit(f"run.py: quick.txt names files the suite does not have: {' '.join(sorted(missing))}")
            todo = [f for f in todo if f in want]
        if args.files:
            todo = [f for f in todo if any(fnmatch.fnmatch(f, p) for p in args.files)]
        if args.part:
            i, n = map(int, args.part.split("/"))
            todo = todo[i - 1::n]
        if not todo:
            sys.exit("run.py: no such file in veryquick")
        state = {"of": len(todo), "bad": [], "start": time.time()}
        used = set()
        threads = [threading.Thread(target=work, args=(suite, todo, exp, used, state)) for _ in range(args.jobs)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return report(suite, exp, used, state, full)
    finally:
        shutil.rmtree(suite.dir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
