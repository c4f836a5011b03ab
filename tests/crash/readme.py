#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""readme.py -- is the code in README.md the code of examples/crash/mine, which is compiled and run?

Every block of C or CMake there must be lines of a file of that folder, one behind the other, as they are.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MINE = os.path.join(HERE, "..", "..", "examples", "crash", "mine")


def main():
    files = {name: open(os.path.join(MINE, name)).read() for name in sorted(os.listdir(MINE))}
    blocks = re.findall(r"^```(c|cmake)\n(.*?)^```$", open(os.path.join(HERE, "README.md")).read(), re.M | re.S)
    bad = 0
    for kind, text in blocks:
        if not any(text in have for have in files.values()):
            print("FAIL: README.md has a block of %s that is in no file of examples/crash/mine:\n%s" % (kind, text))
            bad += 1
    if len(blocks) < 3:
        print("FAIL: README.md has %d blocks of code, and there were three" % len(blocks))
        bad += 1
    print("README.md: %d blocks of code, each in examples/crash/mine" % len(blocks))
    return 1 if bad else 0


sys.exit(main())
