#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fuzz_text.py -- mutated input for the shell, mutated dumps, mutated SQLite databases in a store

usage: fuzz_text.py TARGET --twzdb BIN [--seconds S] [--seed N] [FILE...]

  shell  scripts of tests/shell and tests/fuzz/found, mutated, as the shell's input
  dump   output of .dump, mutated, as the input of a new store
  sql    a store with a SQLite database, its bytes mutated, opened, checked and read through the VFS
  log    a store whose log is full of records, those bytes mutated, opened and checked

Whatever comes in, the shell ends within the time limit, and not by a signal. An input that fails is kept,
and the command that runs it again is printed; FILEs are run instead of mutations.
"""
import argparse
import glob
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 60  # seconds; on a machine that does other things, too
WORDS = [b"select", b"'", b'"', b";", b"\0", b".dump", b".read", b"--", b"/*", b"(", b")", b"9223372036854775807", b"1e999",
         b"\xff\xfe", b"create table", b"insert into t values", b".import", b".mode", b"%s%n", b"x''", b"rollback", b".open",
         b"pragma", b"\n.", b"CREATE VIRTUAL TABLE v USING twz(a,b)", b"savepoint a"]
# Commands that would leave the directory, run programs or wait for a person; they may be shortened.
FORBIDDEN = re.compile(rb"^\s*\.(b|ba|bac[a-z]*|on[a-z]*|ou[a-z]*|read?)\b|^\s*\.o.*[/]|\||attach|load_extension|_directory|vacuum\b.*into", re.I)


def mutate(rng, data, text):
    b = bytearray(data)
    for _ in range(1 + rng.randrange(8)):
        at = rng.randrange(len(b) + 1) if b else 0
        run = 1 + rng.randrange(40)
        kind = rng.randrange(6)
        if kind == 0 and at < len(b):
            b[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and text:
            b[at:at] = rng.choice(WORDS)
        elif kind == 2 and text:
            del b[at:at + run]
        elif kind == 3 and at < len(b):
            src = rng.randrange(len(b))
            piece = bytes(b[src:src + run])
            b[at:at if text else min(at + len(piece), len(b))] = piece[:len(b) - at] if not text else piece
        elif kind == 4 and at < len(b):
            b[at] = rng.randrange(256)
        elif at < len(b):
            b[at:at + 8] = rng.getrandbits(64).to_bytes(8, "little")[:len(b[at:at + 8])]
    return bytes(b)


class Target:
    def __init__(self, name, twzdb, dir_):
        self.name, self.twzdb, self.dir = name, twzdb, dir_
        self.store = os.path.join(dir_, "fuzz-input.twz")
        self.text = name in ("shell", "dump")
        self.where = None
        self.seeds = getattr(self, "seeds_" + name)()

    def shell(self, args, text=b""):
        return subprocess.run([self.twzdb] + args, input=text, capture_output=True, timeout=LIMIT, cwd=self.dir)

    def seeds_shell(self):
        files = glob.glob(os.path.join(HERE, "../shell/*.in"))
        found = glob.glob(os.path.join(HERE, "found/shell-*"))
        if len(files) < 5 or not found:
            raise SystemExit(f"{len(files)} scripts in tests/shell, {len(found)} of shell in tests/fuzz/found: have they moved?")
        files += found
        return [open(f, "rb").read() for f in sorted(files)]

    def make(self, path, rows):
        sql = b"create table t(a integer primary key, b, c); create index i on t(b);" + b"".join(
            b"insert into t values(%d, 'row %d', zeroblob(%d));" % (i, i * 7919 % 1000, i % 90) for i in range(rows))
        r = self.shell([path], sql)
        if r.returncode:
            raise SystemExit(f"cannot make a store: {r.stderr[:300]}")

    def seeds_dump(self):
        path = os.path.join(self.dir, "seed.twz")
        self.make(path, 120)
        return [self.shell([path, ".dump"]).stdout]

    def seeds_sql(self):
        path = os.path.join(self.dir, "seed.twz")
        self.make(path, 300)
        return [open(path, "rb").read()]

    def seeds_log(self):
        """Only bytes a commit has just changed are mutated: the log, and the homes it names."""
        path = os.path.join(self.dir, "seed.twz")
        self.make(path, 50)
        old = open(path, "rb").read()
        p = subprocess.Popen([self.twzdb, path], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for i in range(60):
            p.stdin.write(b"insert into t values(%d, 'more', zeroblob(300));\n" % (1000 + i))
        p.stdin.flush()
        time.sleep(1)
        new = open(path, "rb").read()  # in use: an unclean image
        p.kill()
        p.wait()
        self.where = [i for i in range(0, min(len(old), len(new)), 8) if old[i:i + 8] != new[i:i + 8]]
        return [new]

    def input(self, rng):
        seed = rng.choice(self.seeds)
        if self.where:
            b = bytearray(seed)
            for _ in range(1 + rng.randrange(4)):
                at = rng.choice(self.where)
                b[at:at + 8] = mutate(rng, b[at:at + 8], False)
            return bytes(b)
        return mutate(rng, seed, self.text)

    def run(self, data):
        for f in glob.glob(self.store + "*"):
            os.unlink(f)
        if self.text:
            if self.name == "shell":
                data = b"\n".join(l for l in data.split(b"\n") if not FORBIDDEN.search(l))
            return self.shell([self.store], data).returncode
        with open(self.store, "wb") as f:
            f.write(data)
        return self.shell([self.store], b".check\npragma integrity_check;\nselect count(*), sum(length(c)), min(b) from t;\n"
                          b"select * from t where b > 'row 5' order by b limit 20;\ninsert into t values(99999, 'new', 1);\n"
                          b"delete from t where a % 3 = 0;\nselect count(*) from t;\n").returncode


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("target", choices=["shell", "dump", "sql", "log"])
    ap.add_argument("--twzdb", required=True)
    ap.add_argument("--seconds", type=float, default=15)
    ap.add_argument("--seed", type=int, default=int(os.environ.get("SEED", time.time_ns() // 1000)))
    ap.add_argument("files", nargs="*")
    a = ap.parse_args()
    rng = random.Random(a.seed)
    dir_ = tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    bad = n = 0
    try:
        t = Target(a.target, os.path.abspath(a.twzdb), dir_)
        print(f"fuzz_text {a.target} SEED={a.seed}", flush=True)
        todo = [open(f, "rb").read() for f in a.files]
        end = time.time() + a.seconds
        while (todo if a.files else time.time() < end) and bad < 5:
            data = todo.pop() if a.files else t.input(rng)
            n += 1
            try:
                rc = t.run(data)
            except subprocess.TimeoutExpired:
                rc = -99
            if rc < 0 or rc in (134, 139):
                bad += 1
                name = f"/tmp/fuzz_{a.target}-{a.seed}-{n}"
                with open(name, "wb") as f:
                    f.write(data)
                print(f"FAILED: input {n}: {'no end' if rc == -99 else f'signal {-rc}'}; again: "
                      f"{sys.argv[0]} {a.target} --twzdb {a.twzdb} {name}", flush=True)
    finally:
        shutil.rmtree(dir_, ignore_errors=True)
    print(f"{n} inputs, {bad} crashed or hung")
    return 1 if bad or n == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
