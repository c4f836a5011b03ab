# SPDX-License-Identifier: MIT
"""powercut.py -- the power fails while a store is in use: page media on ext4 and xfs

A guest works on a store on each file system; its disks (disk.py) lose at a cut what was not flushed. QEMU is killed at a random moment,
the guest boots again on what is left of the same disks, recovers, is judged, works on. Before that, at random moments of the run, further
cuts of the disks are taken aside, with what had been acknowledged by then; the next guest judges them too, and while it recovers them the
power fails a second time.
"""
import threading
import time

from scene import END_ALL, Acks, Scene

FS = ("ext4", "xfs")
DISKS = ("ext4", "xfs", "ext4-cut", "xfs-cut")
# one store keeps so many rows, some of them long, that it grows all the time, ahead of what is used too, by a helper thread (D11)
KEEP = {"ext4": "--keep 1001", "xfs": ""}
GROWN = 14 << 20  # bytes: it has begun to (engine/src/runs.c: from 4 MiB on, by 4 MiB)
MORE = 5  # boots at most, until it is as long as that: a slow machine


class Cut:
    def __init__(self, fs, disk, acks, what, keep=""):
        self.fs, self.disk, self.acks, self.what, self.keep = fs, disk, acks, what, keep


def take(s, fs, name, acks, what, keep=""):
    expect = acks.copy()  # before the cut: what is acknowledged meanwhile need not be in it
    d = s.disks[name].cut(s.rng)
    return Cut(fs, d, expect, f"{what}, {d.lost} writes under way", keep)


def start_work(s, guest, fs, port, options="", env=""):
    guest.run(f"{env} vmload work /mnt/{fs}/a.twz --ack /dev/vport*p{port + 2} {options} >/dev/null 2>&1 &")


def judge_cut(s, c, again):
    """Judge a cut; sometimes the power fails again meanwhile, which adds to AGAIN."""
    name = c.fs + "-cut"
    s.disks[name] = c.disk
    timer = None

    def second():
        again.append(take(s, c.fs, name, c.acks, c.what + ", and again in recovery", c.keep))

    def arm():
        nonlocal timer
        timer = threading.Timer(s.rng.random() * 0.4, second)
        timer.start()

    wrong = s.judge_disk(c.what, c.fs, name, s.device(s.guest_disks, name), c.acks, arm if again is not None and s.rng.random() < 0.4 else None,
                         c.keep)
    if timer:
        timer.join()
    return wrong


def judge_all(s, cuts):
    n = 0
    again = []
    for c in cuts:
        for w in judge_cut(s, c, again):
            s.fault(w)
        n += 1
    for c in again:  # a third time: not taken again
        for w in judge_cut(s, c, None):
            s.fault(w)
        n += 1
    return n


def work_until(s, acks, seconds, cuts, boot):
    """Let the guest work, take cuts at random moments; ends at a random moment."""
    taken, before = [], {fs: acks[fs].cnt for fs in FS}
    moments = sorted(s.rng.random() * seconds for _ in range(cuts))
    t0 = time.monotonic()
    for m in moments + [seconds * (0.9 + 0.2 * s.rng.random())]:
        time.sleep(max(0, t0 + m - time.monotonic()))
        if m != moments[-1] or cuts:
            for fs in FS:
                taken.append(take(s, fs, fs, acks[fs], f"{fs}, boot {boot}, cut {len(taken) // 2}", KEEP[fs]))
    s.wait_for("not one change acknowledged on each", lambda: all(acks[fs].cnt > before[fs] for fs in FS))  # on a slow machine
    return taken


def errors(s, acks):
    for fs in FS:
        for e in acks[fs].errors:
            s.fault(f"{fs}: {e}")
        acks[fs].errors = []


def main(a):
    with Scene(a) as s:
        acks = {fs: Acks() for fs in FS}
        for fs in FS:
            s.disks[fs] = s.new_disk(fs)
            s.disks[fs + "-cut"] = s.new_disk(fs)
        cuts, judged, kills, boot, grown = [], 0, 0, 0, 0
        while not s.faults:
            g = s.boot(DISKS, [acks[fs] for fs in FS])
            judged += judge_all(s, cuts)
            for fs in FS:
                g.run(f"mount -t {fs} {s.device(DISKS, fs)} /mnt/{fs}")
                if boot:
                    for w in s.judge(f"{fs}, killed {boot} times", f"/mnt/{fs}/a.twz", acks[fs], options=KEEP[fs]):
                        s.fault(w)
            if boot:
                grown = max(grown, int(g.run("stat -c %s /mnt/ext4/a.twz")[-1]))
            s.say(f"boot {boot}: {judged} cuts judged, {sum(x.cnt for x in acks.values())} changes acknowledged, "
                  f"{sum(s.disks[fs].flushes for fs in FS)} flushes, ext4's store has {grown >> 10} KiB")
            if boot >= a.boots + MORE or (boot >= a.boots and grown >= GROWN):
                break
            for i, fs in enumerate(FS):
                start_work(s, g, fs, i, KEEP[fs])
            cuts = work_until(s, acks, a.seconds, a.cuts, boot)
            kills += 1
            g.kill()
            errors(s, acks)
            for fs in FS:
                s.disks[fs] = s.disks[fs].cut(s.rng)
            boot += 1
        if not any(x.cnt for x in acks.values()):
            s.fault("nothing was acknowledged: nothing was tested")
        if grown < GROWN:
            s.fault(f"the store on ext4 did not grow: {grown} bytes")
        return s.result(f"power cuts: {kills} guests killed, {judged} cuts judged beside")


BREAKS = (("a device that forgets to flush", "flush", ""), ("log writes that are not synced", None, "NOSYNC=pwritev2"),
          ("checkpoints that do not sync homes", None, "NOSYNC=msync"))


def catches(a):
    """Each way to lose data must be noticed: a test of the test."""
    with Scene(a) as s:
        acks = {fs: Acks() for fs in FS}
        for fs in FS:
            s.disks[fs + "-cut"] = s.new_disk(fs)
            s.disks[fs] = s.new_disk(fs)
        g = s.boot(DISKS, [acks[fs] for fs in FS])
        for what, bad, env in BREAKS:
            fs = s.rng.choice(FS)
            s.disks[fs] = s.new_disk(fs, bad=bad)
            x = acks[fs]
            x.last, x.errors, x.ended = {}, [], False
            g.run(f"blockdev --flushbufs {s.device(DISKS, fs)}; mount -t {fs} {s.device(DISKS, fs)} /mnt/{fs}")
            start_work(s, g, fs, FS.index(fs), "--log 65536", f"LD_PRELOAD=/bin/nosync.so {env}" if env else "")
            caught, tried = [], 0
            for _ in range(15):
                time.sleep(0.3 + s.rng.random())
                c = take(s, fs, fs, x, what)
                tried += 1
                caught = judge_cut(s, c, None)
                if caught:
                    break
            g.run(f"{END_ALL}; umount /mnt/{fs}")
            if caught:
                s.say(f"{what} ({fs}): caught at cut {tried}: {caught[0]}")
            else:
                s.fault(f"{what} ({fs}): {tried} cuts did not show it")
        return s.result("losses on purpose")
