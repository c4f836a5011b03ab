#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_disk.py -- the disks of the virtual machines lose what they may, and nothing else; replays stop where they must

No machine is started.
"""
import random
import struct
import sys

sys.dont_write_bytecode = True  # leave nothing in the source tree
from disk import BLOCK, Disk
from logwrites import DISCARD, FLUSH, FUA, MAGIC, MARK, Replay, entries

SECTOR, BLOCKS = 512, 64


def page(n):
    return bytes([n]) * BLOCK


def what_is_flushed_stays(rng):
    d = Disk(BLOCKS * BLOCK)
    d.write(0, page(1))
    d.flush()
    d.write(BLOCK, page(2))
    cuts = [d.cut(rng) for _ in range(200)]
    assert all(c.read(0, BLOCK) == page(1) for c in cuts)
    seen = {c.read(BLOCK, BLOCK) for c in cuts}
    assert {page(0), page(2)} <= seen and len(seen) > 5, "all, none, and torn"
    for c in cuts:
        b = c.read(BLOCK, BLOCK)
        assert all(b[i:i + SECTOR] in (page(0)[:SECTOR], page(2)[:SECTOR]) for i in range(0, BLOCK, SECTOR)), "a sector is whole"


def large_sectors_are_whole(rng):
    d = Disk(BLOCKS * BLOCK, sector=4096)
    d.write(0, page(1) + page(2))
    assert {d.cut(rng).read(BLOCK, BLOCK) for _ in range(100)} == {page(0), page(2)}


def a_later_write_may_come_without_an_earlier_one(rng):
    d = Disk(BLOCKS * BLOCK)
    d.write(0, page(1))
    d.write(BLOCK, page(2))
    seen = {(c.read(0, 1)[0], c.read(BLOCK, 1)[0]) for c in (d.cut(rng) for _ in range(300))}
    assert seen >= {(0, 0), (1, 0), (0, 2), (1, 2)}, seen


def a_device_that_forgets_is_one(rng):
    d = Disk(BLOCKS * BLOCK, bad="flush")
    d.write(0, page(1))
    d.flush()
    assert any(d.cut(rng).read(0, BLOCK) == page(0) for _ in range(50))


LOG = ((0, 0, page(1)), (FLUSH | FUA, 0, b""), (FUA, BLOCK, page(2)), (MARK, 0, b"7:1"), (MARK, 0, b"7:2"), (0, 2 * BLOCK, page(3)),
       (FUA, 3 * BLOCK, page(4)), (0, 4 * BLOCK, page(5)), (DISCARD, 0, b""), (FLUSH, 0, b""), (MARK, 0, b"7:3"), (0, 5 * BLOCK, page(6)))


def replay_of(log):
    d = Disk(1 << 20)
    out = struct.pack("<QQQI", MAGIC, 1, len(log), SECTOR).ljust(SECTOR, b"\0")
    for flags, off, data in log:
        text = data if flags & MARK else b""
        n = 0 if flags & MARK else len(data) // SECTOR
        out += (struct.pack("<QQQQ", off // SECTOR, n, flags, len(text)) + text).ljust(SECTOR, b"\0")
        out += b"" if flags & MARK else data
    d.write(0, out)
    assert [f for f, _, _ in entries(d)] == [f for f, _, _ in log]
    return Replay(Disk(BLOCKS * BLOCK), d)


def a_replay_stops_at_each_flush_and_promise(_):
    r = replay_of(LOG)
    assert r.stops() == [2, 5, 7, 11], r.stops()
    told = []
    for stop in r.stops():
        r.go(stop)
        told.append(r.acks.last.get(7, 0))
    assert told == [0, 2, 2, 3], told
    assert r.disk.read(0, 6 * BLOCK) == b"".join(page(n) for n in (1, 2, 3, 4, 5, 0))


def what_may_be_under_way_ends_with_a_forced_write(_):
    r, got = replay_of(LOG), []
    for stop in r.stops():
        r.go(stop)
        got.append([off // BLOCK for off, _ in r.under_way()])
    assert got == [[1], [2, 3], [4], [5]], got


def main():
    seed = random.randrange(1 << 30)
    print("test_disk SEED", seed)
    for case in (what_is_flushed_stays, large_sectors_are_whole, a_later_write_may_come_without_an_earlier_one, a_device_that_forgets_is_one,
                 a_replay_stops_at_each_flush_and_promise, what_may_be_under_way_ends_with_a_forced_write):
        case(random.Random(seed))
        print("ok:", case.__name__)


if __name__ == "__main__":
    main()
