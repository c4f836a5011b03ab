#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""budget.py -- runs the tests of a label and says whether they cost more than its budget

usage: budget.py LABEL SECONDS [--note FILE] COMMAND...		status: the command's; 4: it succeeded, but over budget
       budget.py --selftest

A budget is seconds on two processors that nobody else uses. Where others use them, too, the clock on the wall says nothing, and what
counts is the processor time of all that was run, which is the same then:

	over	processor time / 2 > budget, however busy the machine is
		or the clock, less what others took, > budget, while the machine was calm

Processor time grows, too, where a processor is shared unseen (a virtual machine among others, two threads of one core). So a loop of
fixed work is timed now and then meanwhile; by as much as it takes longer than it should, less is counted, of both. Calm: others had less than
a tenth of the processors (/proc/stat), and the loop was not slow. TWZ_BUDGET=warn: say it only. FILE gets a line for a summary.
"""
import os
import statistics
import subprocess
import sys
import threading
import time

PROCESSORS = 2  # what budgets are made for
LOOP = 0.0095  # seconds of processor time of the loop, on the machine the budgets were set on
SLOW = 1.3  # it takes so much longer: not calm
OTHERS = 0.1  # of the processors
OVER = 4  # exit status


def loop():
    """Processor seconds of a piece of work that is always the same."""
    t = time.thread_time()
    x = 0
    for i in range(200000):
        x = (x * 31 + i) & 0xffff
    return time.thread_time() - t


def busy():
    """Processor seconds that all processes together have used, and what a hypervisor kept for others (steal)."""
    with open("/proc/stat") as f:
        n = [int(x) for x in f.readline().split()[1:9]]
    user, nice, system, _idle, _wait, irq, soft, steal = n
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


class Cost:
    """What was measured: seconds on the wall, of the processors, of others, how slow they were (1: as usual), and how many there are."""
    def __init__(self, wall, cpu, others=0.0, slow=1.0, cpus=PROCESSORS):
        self.wall, self.cpu, self.others, self.slow, self.cpus = wall, cpu, others, max(slow, 1.0), cpus

    def calm(self):
        return self.cpus >= PROCESSORS and self.others < OTHERS * self.wall * self.cpus and self.slow < SLOW

    def least(self):
        """Seconds it would take on a calm machine at least."""
        return self.cpu / self.slow / PROCESSORS

    def is_over(self, budget):
        return self.least() > budget or (self.calm() and (self.wall - self.others / self.cpus) / self.slow > budget)

    def text(self, budget):
        t = f"{self.wall:4.0f} s of {budget:g} s, {self.cpu:.0f} s of processors"
        if not self.calm():
            t += f" (busy with other things for {self.others:.0f} s" + (f", {self.slow:.1f} times slower" if self.slow >= SLOW else "") + ")"
        return t + ("  OVER BUDGET" if self.is_over(budget) else "")


def measure(command):
    """(exit status, Cost) of COMMAND."""
    samples, done = [loop()], threading.Event()

    def sample():
        while not done.wait(5):
            samples.append(loop())

    watch = threading.Thread(target=sample, daemon=True)
    watch.start()
    wall, before = time.monotonic(), busy()
    p = subprocess.Popen(command)
    _, status, used = os.wait4(p.pid, 0)
    wall, after = time.monotonic() - wall, busy()
    p.returncode = os.waitstatus_to_exitcode(status)
    done.set()
    watch.join()
    cpu = used.ru_utime + used.ru_stime
    return p.returncode, Cost(wall, cpu, max(0.0, after - before - cpu), statistics.median(samples) / LOOP, os.cpu_count() or 1)


def run(label, budget, command, note=None):
    rc, cost = measure(command)
    over = cost.is_over(budget)
    print(f"label {label:7} {cost.text(budget)}", flush=True)
    if note:
        with open(note, "a") as f:
            f.write(f"{label:7} {cost.text(budget)}{'  FAILED' if rc else ''}\n")
    if over and os.environ.get("TWZ_BUDGET") != "warn":
        print(f"budget.py: the tests labelled {label} take longer than their budget of {budget:g} s on {PROCESSORS} processors"
              " (./dev has the budgets; TWZ_BUDGET=warn: say it only)", file=sys.stderr, flush=True)
        return rc or OVER
    return 1 if rc < 0 else rc


# --- does it notice? ---

CASES = (  # budget 100 s: is it over?
    ("in time on a calm machine", Cost(90, 150), False),
    ("too long on a calm machine", Cost(110, 150), True),
    ("waits rather than works, on a calm machine", Cost(110, 10), True),
    ("a little too long on a machine that is a little slow and a little busy", Cost(118, 150, others=12, slow=1.2), False),
    ("too long on a machine that is a little slow and a little busy", Cost(140, 150, others=12, slow=1.2), True),
    ("too long because others work", Cost(250, 180, others=300), False),
    ("too much work, whoever else works", Cost(600, 210, others=900), True),
    ("too long because a core is shared unseen", Cost(240, 380, slow=2.1), False),
    ("too much work there, too", Cost(300, 480, slow=2.1), True),
    ("a quick processor has no smaller budget", Cost(90, 190, slow=0.4), False),
    ("one processor", Cost(190, 180, cpus=1), False),
)
BURN = "import time\nwhile time.process_time() < %g: pass"


def selftest():
    bad = [what for what, cost, over in CASES if cost.is_over(100) != over]
    os.environ.pop("TWZ_BUDGET", None)
    py = [sys.executable, "-c"]
    waits = py + [f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN % 1.5!r}])"]
    bad += [what for what, want, budget, command in (
        ("work of a child's child", OVER, 0.1, waits), ("in time", 0, 60, py + ["pass"]),
        ("fails in time", 3, 60, py + ["raise SystemExit(3)"]), ("fails over budget", 3, 0.05, py + [BURN % 0.8 + "\nraise SystemExit(3)"]),
    ) if run("itself", budget, command) != want]
    os.environ["TWZ_BUDGET"] = "warn"
    bad += ["a warning only"] if run("itself", 0.05, py + [BURN % 0.8]) else []
    for what in bad:
        print("FAILED:", what)
    return 1 if bad else 0


def main(a):
    if a == ["--selftest"]:
        return selftest()
    if len(a) < 3:
        print(__doc__)
        return 2
    label, budget, a = a[0], float(a[1]), a[2:]
    note = None
    if a[0] == "--note":
        note, a = a[1], a[2:]
    return run(label, budget, a, note)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
