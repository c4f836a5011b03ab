#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run.py -- tests in a virtual machine: README.md beside this file

usage: run.py SCENARIO --build DIR [--kernel DIR] [--seed N] [--smp N] [options of the scenario]
"""
import argparse
import os
import signal
import sys
import time
import traceback

sys.dont_write_bytecode = True  # leave nothing in the source tree
import broken
import guest
import logwrites
import nvdimm
import oom
import powercut

SCENARIOS = {"eio": broken.main_eio, "full": broken.main_full,
             "logwrites": logwrites.main, "logwrites-catches": logwrites.catches, "nvdimm": nvdimm.main, "oom": oom.main, "powercut": powercut.main, "powercut-catches": powercut.catches}


def too_long(*_):
    """Where it is, then: the traceback says what was waited for, the guest where it is."""
    what = "".join(traceback.format_stack(limit=8))
    raise guest.Failed(f"it takes longer than --limit allows; it was at\n{what}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("scenario", choices=sorted(SCENARIOS))
    ap.add_argument("--build", required=True, help="build folder: tests/vmload, vm-kernel")
    ap.add_argument("--kernel", help="folder made by kernel.sh (default: BUILD/vm-kernel)")
    ap.add_argument("--seed", type=int, default=int(os.environ.get("SEED", time.time_ns() // 1000 % 10**9)))
    ap.add_argument("--smp", type=int, default=1, help="processors of the guest")
    ap.add_argument("--boots", type=int, default=3, help="powercut, nvdimm: how often the guest is killed")
    ap.add_argument("--cuts", type=int, default=6, help="powercut: further cuts a boot and disk")
    ap.add_argument("--seconds", type=float, default=4, help="of work")
    ap.add_argument("--fs", choices=("ext4", "xfs"), help="logwrites: on this file system")
    ap.add_argument("--changes", type=int, default=8, help="logwrites: of each actor")
    ap.add_argument("--points", type=int, default=0, help="logwrites: so many stops only (0: every flush and mark)")
    ap.add_argument("--torn", type=float, default=0.2, help="logwrites: share of the stops that are judged with parts of later writes, too")
    ap.add_argument("--limit", type=int, default=0, help="seconds it may take at most (0: no limit)")
    ap.add_argument("--keep", action="store_true", help="keep the folder with consoles and disks")
    a = ap.parse_args()
    a.build = os.path.abspath(a.build)
    a.kernel = a.kernel or f"{a.build}/vm-kernel"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # tidies up
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(a.limit)
    print(f"vm {a.scenario} SEED={a.seed}", flush=True)
    try:
        return SCENARIOS[a.scenario](a)
    except guest.Failed as e:
        print(f"FAIL: {e}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
