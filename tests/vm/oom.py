# SPDX-License-Identifier: MIT
"""oom.py -- the kernel kills for want of memory, while commits are being made

All processes of the workload take more and more memory, in a memory cgroup or in the whole machine, until the kernel kills one; another takes its place, the
others go on, a reader looks all the time. In the end the store is judged; and a copy as it was in between is judged too: what was acknowledged
since must be missed.
"""
import re

from scene import END_ALL, Acks, Scene

FS = ("ext4", "xfs")
SIZE = 320 << 20
# TWZ_E_NOMEM, ENOMEM; SQLite's NOMEM, IOERR_NOMEM: who is refused memory is told so
NOMEM = {-20016, -12, 7, 3082}
# EINPROGRESS: who has the lock has been stopped for ten seconds, as here all are for the copy, which takes long where memory is short.
# The commit stands, and is not acknowledged; nothing says that it must be missing.
HELD = {-115}
CGROUP = "mkdir -p /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && echo +memory > /sys/fs/cgroup/cgroup.subtree_control && " \
         "mkdir /sys/fs/cgroup/small && echo {limit} > /sys/fs/cgroup/small/memory.max"
JOIN = "echo 0 > /sys/fs/cgroup/small/cgroup.procs; "


class Killed(Acks):
    """Counts who was killed, too."""
    kills = 0

    def line(self, text):
        if text and text.startswith("K "):
            self.kills += 1
        super().line(text)


def oom_kills(g):
    return int(g.run("grep '^oom_kill ' /proc/vmstat")[0].split()[1])


def code_of(error):
    m = re.match(r"E -?\d+ [^:]*: (-?\d+)", error)
    return int(m.group(1)) if m else 0


def squeeze(s, fs, where, join, want):
    """Work until WANT processes have been killed by the kernel; in between, once, the store is copied."""
    g, x, dev = s.guest, s.acks[fs], s.device(s.guest_disks, fs)
    what = f"{fs}, {where}"
    s.disks[fs] = s.new_disk(fs, SIZE)
    x.last, x.errors, x.ended, x.cnt, x.kills = {}, [], False, 0, 0
    before = oom_kills(g)
    g.run(f"blockdev --flushbufs {dev}; mount -t {fs} {dev} /mnt/x")
    g.run(f"({join}echo -1000 > /proc/self/oom_score_adj; exec vmload work /mnt/x/a.twz --ack /dev/vport*p{FS.index(fs) + 2} --reader --endure --hog)"
          " >/dev/null 2>&1 &")
    s.wait_for(f"{what}: not one process killed, not 20 changes", lambda: x.kills and x.cnt > 20)
    # twice: one may have been begun meanwhile, and the parent cannot begin another
    g.run("for n in 1 2; do killall -STOP vmload; done; cp /mnt/x/a.twz /mnt/x/old.twz; rc=$?; killall -CONT vmload; [ $rc = 0 ]", 60)
    then = x.cnt
    s.wait_for(f"{what}: not {want} processes killed, not 20 further changes", lambda: x.kills >= want and x.cnt > then + 20)
    g.run(END_ALL, 60)
    kills = oom_kills(g) - before
    for e in x.errors:
        if code_of(e) not in NOMEM | HELD:
            s.fault(f"{what}: {e}")
    for w in s.judge(what, "/mnt/x/a.twz", x):
        s.fault(w)
    if kills < x.kills:
        s.fault(f"{what}: the kernel killed {kills} times for want of memory, {x.kills} processes of ours died")
    old = s.judge(f"{what}, the copy", "/mnt/x/old.twz", x)
    if not any("was acknowledged" in w for w in old):
        s.fault(f"{what}: a copy made in between is not noticed")
    g.run("umount /mnt/x")
    s.say(f"{what}: {kills} processes killed by the kernel, {x.cnt} changes acknowledged, {len(x.errors)} times told that there is no memory, or that somebody is stopped; "
          f"a copy of before: noticed: {old[-1][:120] if old else 'no'}")


def main(a):
    with Scene(a) as s:
        s.acks = {fs: Killed() for fs in FS}
        for fs in FS:
            s.disks[fs] = s.new_disk(fs, SIZE)
        g = s.boot(FS, [s.acks[fs] for fs in FS], memory="320M")
        g.run(CGROUP.format(limit=128 << 20))
        for fs in FS:
            squeeze(s, fs, "a memory cgroup", JOIN, 5)
        squeeze(s, s.rng.choice(FS), "the whole machine", "", 2)
        return s.result("killed for want of memory")
