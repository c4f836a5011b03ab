# SPDX-License-Identifier: MIT
"""logwrites.py -- dm-log-writes: every write of a workload, replayed up to every flush and every acknowledgement

The kernel's target dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst) writes what goes to a device into a log as
well: writes when they are flushed or forced (FUA), so any prefix of the log is what the device durably has at some moment; marks where
the workload says that a change was acknowledged. At a point of that log the durable disk is the entries up to it, and a power cut
there leaves this and any part of the writes up to the next flush.

	super block	u64 magic, version, entries; u32 sector size		little-endian, one sector
	entry		u64 sector, sectors (of 512), flags, data length	one sector; a mark's text follows in it
	its data	as many bytes as sectors say (not for discards), rounded up to the sector size
"""
import struct

from disk import Disk, lose
from powercut import Cut, judge_cut
from scene import Acks, Failed, Scene

FS = ("ext4", "xfs")
MAGIC = 0x6a736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


def entries(log):
    """(flags, offset, data) of each entry of the log on disk LOG; the data of a mark is its text."""
    magic, version, cnt, size = struct.unpack("<QQQI", log.read(0, 28))
    if magic != MAGIC or version != 1:
        raise Failed(f"no log of dm-log-writes: {magic:x} {version}")
    at = size
    for _ in range(cnt):
        sector, n, flags, length = struct.unpack("<QQQQ", log.read(at, 32))
        text = log.read(at + 32, length) if flags & MARK else b""
        at += size
        data = b"" if flags & DISCARD else log.read(at, n * 512)
        at += (len(data) + size - 1) // size * size
        yield flags, sector * 512, text if flags & MARK else data


class Replay:
    """Walks a log; at each stop `disk` is durable and `acks` acknowledged."""
    def __init__(self, base, log):
        self.disk, self.acks = Disk(base.size, dict(base.durable), sector=base.sector), Acks()
        self.entries = list(entries(log))
        self.at = 0

    def stops(self):
        """Behind each flush, forced write and mark. Marks that follow one are at the same stop: the disk is the same, more is promised."""
        out = []
        for i, e in enumerate(self.entries):
            if e[0] & MARK and out and out[-1] == i:
                out[-1] = i + 1
            elif e[0] & (FLUSH | FUA | MARK):
                out.append(i + 1)
        return out

    def go(self, to):
        for flags, off, data in self.entries[self.at:to]:
            if flags & MARK:
                self.acks.line("A " + data.rstrip(b"\0").decode().replace(":", " "))
            elif data:
                self.disk.apply([(off, data)])
        self.at = to

    def under_way(self):
        """Writes that may be under way here: up to the next flush or forced write, and that write itself. What comes behind a forced
        write may have been begun when that was durable, and rely on it (ext4 forces the commit records of its journal)."""
        out = []
        for flags, off, data in self.entries[self.at:]:
            if flags & FLUSH:
                break
            if data and not flags & MARK:
                out.append((off, data))
            if flags & FUA:
                break
        return out

    def cut(self, fs, rng, torn):
        """The disk as it may be at this point: with none, or TORN with some, of the writes under way."""
        d = Disk(self.disk.size, dict(self.disk.durable), sector=self.disk.sector)
        n = self.under_way() if torn else []
        d.apply(lose(n, rng, d.sector))
        return Cut(fs, d, self.acks.copy(), f"{fs}, log replayed to entry {self.at} of {len(self.entries)}"
                   + (f" and parts of {len(n)} writes more" if n else ""))


def record(s, fs, work, env=""):
    """Run the workload on a device whose writes are logged."""
    g, data, log = s.guest, s.device(s.guest_disks, fs), s.device(s.guest_disks, fs + "-log")
    s.disks[fs], s.disks[fs + "-log"] = s.new_disk(fs), Disk(1 << 30)
    base = Disk(s.disks[fs].size, dict(s.disks[fs].durable), sector=s.disks[fs].sector)
    g.run(f"blockdev --flushbufs {data}; blockdev --flushbufs {log}")
    g.run(f"dmsetup create lw --noudevsync --table '0 {base.size // 512} log-writes {data} {log}'; dmsetup mknodes; "
          f"mount -t {fs} /dev/mapper/lw /mnt/{fs}")
    g.run(f"{env} vmload work /mnt/{fs}/a.twz --ack /tmp/acks --mark lw {work} --log 65536", 600)
    told = [ln for ln in g.run("grep -v ^A /tmp/acks; rm /tmp/acks") if ln.startswith("E ")]
    if told:
        s.fault(f"{fs}: {told[0]} (and {len(told) - 1} more)")
    g.run(f"umount /mnt/{fs}; sync; dmsetup remove --noudevsync lw")
    return Replay(base, s.disks[fs + "-log"])


def replay(s, fs, r, stops, torn, expect_faults=False):
    """Judge the disk at each of STOPS; at a share TORN of them, again, with parts of the writes under way."""
    judged = 0
    for stop in stops:
        r.go(stop)
        for parts in ((False, True) if s.rng.random() < torn else (False,)):
            wrong = judge_cut(s, r.cut(fs, s.rng, parts), None)
            judged += 1
            if wrong and expect_faults:
                return judged, wrong[0]
            for w in wrong:
                s.fault(w)
        if len(s.faults) > 5:
            break
    return judged, None


def main(a):
    """The log of a bounded workload, replayed to every stop."""
    with Scene(a) as s:
        fs = a.fs or s.rng.choice(FS)
        for d in DISKS[fs]:
            s.disks[d] = s.new_disk(fs)
        s.boot(DISKS[fs])
        r = record(s, fs, f"--changes {a.changes}")
        stops = r.stops()
        s.say(f"{fs}: {len(r.entries)} entries recorded, {sum(e[0] & FLUSH != 0 for e in r.entries)} flushes, {len(stops)} stops")
        if len(stops) < (LEAST if a.changes >= CHANGES else FEW):
            s.fault(f"{fs}: {len(stops)} stops only")
        chosen = stops if not a.points or a.points >= len(stops) else sorted(s.rng.sample(stops, a.points))
        n, _ = replay(s, fs, r, chosen, a.torn)
        s.say(f"{fs}: {len(chosen)} of {len(stops)} stops, {n} disks judged; {max(r.acks.last.get(1000, 0), 0)} commits in order by then")
        return s.result(f"dm-log-writes on {fs}: replayed to {'every flush' if chosen == stops else 'some of the flushes'}")


def catches(a):
    """A test of the test: log writes that are not synced are acknowledged too early, which a replay must show."""
    with Scene(a) as s:
        fs = a.fs or s.rng.choice(FS)
        for d in DISKS[fs]:
            s.disks[d] = s.new_disk(fs)
        s.boot(DISKS[fs])
        r = record(s, fs, f"--changes {a.changes}", "LD_PRELOAD=/bin/nosync.so NOSYNC=pwritev2")
        stops = r.stops()
        s.rng.shuffle(stops)
        n, why = replay(s, fs, r, sorted(stops[:60]), 0, True)
        if why:
            s.say(f"log writes that are not synced ({fs}): caught at point {n}: {why}")
        else:
            s.fault(f"log writes that are not synced ({fs}): {n} points did not show it")
        return s.result("a log that is not synced")


DISKS = {fs: (fs, fs + "-log", fs + "-cut") for fs in FS}
CHANGES = 8  # of each actor, unless --changes says otherwise (run.py)
LEAST = 200  # stops of these; some 270 to 290 there are. Fewer, and not every flush was in the log
FEW = 30     # of a shorter workload
