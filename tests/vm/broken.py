# SPDX-License-Identifier: MIT
"""broken.py -- what happens to a store in use when its device fails, or its disk is full

eio	The store lies on a device-mapper device. Its table is replaced while a workload runs: writes fail (dm-flakey), or everything
	does (dm-error). Writers must get one of the errors docs/durability.md has for that (D17), and get it until all have closed the
	store, also when the device works again; readers read on. Then all close, the file system is mounted again, the store is judged.
full	The file system is filled up; whoever needs space gets NOSPC, nothing else, nobody dies; then there is space again.
"""
import re
import time

from scene import Acks, Scene

FS = ("ext4", "xfs")
# TWZDB_E_IO, TWZ_E_IO, TWZ_E_FAILED, EIO, EROFS; SQLite's IOERR, CANTOPEN, READONLY (its file seems to have been moved: stat() fails, too)
ENGINE_IO, ENGINE_ACTORS = -21011, 32
IO = {-21011, -20005, -20022, -5, -30, 10, 14, 8}
NOSPC = {-21004, -20004, -28, 13}  # TWZDB_E_NOSPC, TWZ_E_NOSPC, ENOSPC, SQLITE_FULL


def code_of(line):
    m = re.match(r"E -?\d+ [^:]*: (-?\d+)", line)
    return int(m.group(1)) if m else None


def only(s, what, lines, codes):
    """Each error is one of CODES; says how many there were."""
    wrong = [ln for ln in lines if code_of(ln) not in codes]
    if wrong:
        s.fault(f"{what}: {wrong[0]} (and {len(wrong) - 1} more of {len(lines)} errors)")
    return len(lines)


def table(g, text):
    g.run(f"dmsetup suspend --noudevsync --nolockfs --noflush d && dmsetup load d --table '{text}' && dmsetup resume --noudevsync d")


def errors_of(x, reader):
    return [e for e in list(x.errors) if e.startswith("E 300 ") == reader]


def end(s, x):
    """All close in good order."""
    s.guest.run("killall vmload", check=False)
    s.wait_for("the workload does not end", lambda: x.ended)


def failed_for_good(s, what, x, told, then):
    """D17: once a write of the log has failed, all are told so until they have closed; also now that the device works again."""
    if not any(code_of(e) == ENGINE_IO and int(e.split()[1]) < ENGINE_ACTORS for e in told):
        s.fault(f"{what}: no commit of the engine was refused")
    for k, v in x.last.items():
        if k < ENGINE_ACTORS and then.last.get(k, 0) != v:
            s.fault(f"{what}: actor {k} went on from {then.last.get(k, 0)} to {v} with a store that has failed")


def eio(s, fs, kind):
    g, x, dev = s.guest, s.acks[fs], s.device(s.guest_disks, fs)
    s.disks[fs] = s.new_disk(fs)
    n = s.disks[fs].size // 512
    x.last, x.errors, x.ended, x.cnt = {}, [], False, 0
    good = f"0 {n} linear {dev} 0"
    bad = f"0 {n} flakey {dev} 0 0 9999 1 error_writes" if kind == "writes fail" else f"0 {n} error"
    g.run(f"blockdev --flushbufs {dev}; dmsetup create d --noudevsync --table '{good}'; dmsetup mknodes; mount -t {fs} /dev/mapper/d /mnt/x")
    g.run(f"vmload work /mnt/x/a.twz --ack /dev/vport*p{FS.index(fs) + 2} --reader --endure >/dev/null 2>&1 &")
    s.wait_for("nothing is acknowledged", lambda: x.cnt > 20)
    time.sleep(s.rng.random())
    before, early = x.cnt, list(x.errors)
    table(g, bad)
    s.wait_for("nobody is told an error", lambda: any(0 <= int(e.split()[1]) < ENGINE_ACTORS for e in errors_of(x, False)))
    time.sleep(1 + s.rng.random())
    told_by_then = list(x.errors)
    table(g, good)
    time.sleep(0.5)
    x2 = x.copy()
    time.sleep(1.5)
    end(s, x)
    what = f"{fs}, {kind}"
    if kind == "writes fail" and fs == "ext4":  # elsewhere reads fail, too, and who is told that may go on
        failed_for_good(s, what, x, told_by_then, x2)
    if early:
        s.fault(f"{what}: errors before: {early[0]}")
    # Who reads in place a page that cannot be read any more gets the kernel's signal; xfs lets nothing be read once it has
    # shut down, which it does when a write of its own fails.
    dead = [e for e in x.errors if "signal 7" in e and (kind == "everything fails" or fs == "xfs")]
    x.errors = [e for e in x.errors if e not in dead]
    told = only(s, what, errors_of(x, False), IO)
    only(s, what + ", a reader", errors_of(x, True), set() if kind == "writes fail" and fs == "ext4" else IO)
    if not told:
        s.fault(f"{what}: nobody was told an error")
    g.run(f"umount /mnt/x; mount -t {fs} /dev/mapper/d /mnt/x")
    for w in s.judge(what, "/mnt/x/a.twz", x):
        s.fault(w)
    g.run("umount /mnt/x; dmsetup remove --noudevsync d")
    s.say(f"{what}: {before} changes acknowledged before, {told} errors told, {len(dead)} processes ended by SIGBUS; {x.cnt - before} later; "
          f"{sum(x.last.get(k, 0) != v for k, v in x2.last.items())} actors went on while all had it open")


def main_eio(a):
    with Scene(a) as s:
        s.acks = {fs: Acks() for fs in FS}
        for fs in FS:
            s.disks[fs] = s.new_disk(fs)
        s.boot(FS, [s.acks[fs] for fs in FS])
        for fs in FS:
            for kind in ("writes fail", "everything fails"):
                eio(s, fs, kind)
        return s.result("a device that fails")


def full(s, fs):
    g, x, dev = s.guest, s.acks[fs], s.device(s.guest_disks, fs)

    def work(what, enough):
        x.ended = False
        g.run(f"vmload work /mnt/x/a.twz --ack /dev/vport*p{FS.index(fs) + 2} --reader --endure --keep 1000000 >/dev/null 2>&1 &")
        s.wait_for(f"{fs}, {what}", enough)
        end(s, x)

    g.run(f"mount -t {fs} {dev} /mnt/x")
    work("not 100 changes", lambda: x.cnt > 100)
    only(s, f"{fs}, before", x.errors, set())
    before = x.cnt
    # space for the companion and a little more: soon nothing can grow
    g.run("sync; fallocate -l $(($(df -k /mnt/x | tail -1 | awk '{print $4}') - 9000))k /mnt/x/filler")
    work("nobody needs space", lambda: len(errors_of(x, False)) > 20)
    told = only(s, f"{fs}, full", x.errors, NOSPC)
    between = x.cnt
    x.errors.clear()
    g.run("rm /mnt/x/filler*; sync")
    for w in s.judge(f"{fs}, full", "/mnt/x/a.twz", x, options="--keep 1000000"):
        s.fault(w)
    work("space again, but no changes", lambda: x.cnt > between + 20)
    only(s, f"{fs}, space again", x.errors, set())
    for w in s.judge(f"{fs}, space again", "/mnt/x/a.twz", x, options="--keep 1000000"):
        s.fault(w)
    g.run("umount /mnt/x")
    s.say(f"{fs}: {before} changes acknowledged, {between - before} while the disk was full, {told} times no space, "
          f"{x.cnt - between} afterwards")
    return told


def main_full(a):
    with Scene(a) as s:
        s.acks = {fs: Acks() for fs in FS}
        for fs in FS:
            s.disks[fs] = s.new_disk(fs, 320 << 20)
        s.boot(FS, [s.acks[fs] for fs in FS])
        for fs in FS:
            told = full(s, fs)
            if not told:
                s.fault(f"{fs}: nobody needed space: nothing was tested")
        return s.result("a full disk")
