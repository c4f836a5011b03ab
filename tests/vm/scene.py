# SPDX-License-Identifier: MIT
"""scene.py -- what the scenarios share: a folder of their own, guests, what was acknowledged, the judge"""
import collections
import os
import random
import shutil
import subprocess
import tempfile
import time

from disk import Disk, Server
from guest import Failed, Guest, Kernel, make_initramfs

SIZES = {"ext4": 96 << 20, "xfs": 320 << 20}
# xfs does not survive a tear within one of its blocks: its recovery takes a block whose header is new for a block that is
# new, leaves it alone, and then refuses its checksum. So it gets a disk that writes its blocks whole; ext4 writes them anew.
SECTORS = {"ext4": 512, "xfs": 4096}
MKFS = {"ext4": ["-m", "0"], "xfs": ["-s", "size=4096"]}
# Until none is there. A child may have been begun while killall looked for processes, and killall fails, too, when one of those it
# found has ended meanwhile: its failure does not say that none is left, and one signal to all does not reach all.
END_ALL = "while pidof vmload >/dev/null; do killall -9 vmload 2>/dev/null; usleep 50000; done"


class Acks:
    """What came out of the machine: per actor the last change that was acknowledged."""
    def __init__(self):
        self.last, self.errors, self.ended, self.cnt = {}, [], False, 0
        self.said = {}  # the last lines of each actor

    def line(self, text):
        if text is None:
            return
        actor = text.split(" ")[1] if " " in text else ""
        self.said.setdefault(actor, collections.deque(maxlen=1000)).append(f"{time.monotonic() % 1000:.3f} {text}")
        if text.startswith("A "):
            n = text.split()[1:]
            try:
                for a, v in zip(n[::2], n[1::2]):
                    self.last[int(a)] = max(self.last.get(int(a), 0), int(v))
                self.cnt += 1
            except ValueError:
                pass  # cut off
        elif text.startswith("E "):
            self.errors.append(text)
        elif text.startswith("END"):
            self.ended = True

    def lost(self, found):
        return [f"actor {a}: change {n} was acknowledged, the store has {found.get(a, 0)}; it said {self.around(str(a))}"
                for a, n in sorted(self.last.items()) if found.get(a, 0) < n]

    def around(self, actor):
        """What ACTOR said around its last acknowledgement."""
        said = list(self.said.get(actor, []))
        at = max([i for i, ln in enumerate(said) if " A " in ln], default=0)
        return said[max(0, at - 6):at + 4]

    def copy(self):
        c = Acks()
        c.last = dict(self.last)
        return c


class Scene:
    def __init__(self, a):
        self.a = a
        self.rng = random.Random(a.seed)
        self.dir = tempfile.mkdtemp(prefix="twz-vm-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.kernel = Kernel(a.kernel)
        self.disks, self.faults, self.guest = {}, [], None
        self.start = time.monotonic()
        make_initramfs(f"{self.dir}/initramfs", self.kernel, [f"{a.build}/tests/vmload", f"{a.build}/tests/nosync.so"])
        self.server = Server(f"{self.dir}/nbd", self.disks)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.guest:
            self.guest.kill()
        self.server.close()
        if self.a.keep:
            print("kept:", self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def say(self, text):
        print(f"[{time.monotonic() - self.start:6.1f} s] {text}", flush=True)

    def fault(self, text):
        self.faults.append(text)
        self.say("FAIL: " + text)

    def new_disk(self, fs, size=None, bad=None):
        path = f"{self.dir}/mkfs"
        with open(path, "wb") as f:
            f.truncate(size or SIZES[fs])
        env = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        subprocess.run([f"mkfs.{fs}", "-q"] + MKFS[fs] + [path], check=True, env=env)
        d = Disk.from_file(path, bad=bad, sector=SECTORS[fs])
        os.unlink(path)
        return d

    def boot(self, disks, acks=(), **kw):
        self.guest_disks = disks
        for left in (2, 1, 0):  # an emulated kernel hangs while it boots, seldom, before anything of ours runs
            try:
                self.guest = Guest(self.dir, self.kernel, f"{self.dir}/initramfs", f"{self.dir}/nbd", disks, [x.line for x in acks],
                                   smp=self.a.smp, **kw)
                self.guest.run("mkdir -p /mnt/x " + " ".join(f"/mnt/{d}" for d in disks), timeout=60)
                break
            except Failed as e:
                if not left:
                    raise
                self.say(f"boots again: {e}")
                if self.guest:
                    self.guest.kill()
                    self.guest = None
        return self.guest

    def device(self, disks, name):
        return "/dev/vd" + chr(ord("a") + list(disks).index(name))

    def judge(self, what, path, acks, timeout=300, said=None, options=""):
        """Recover and check the store at PATH in the guest, and compare with what was acknowledged. What is wrong, as a list."""
        out, rc = self.guest.run(f"watched {timeout} vmload judge {path} {options}", timeout + 30, check=False)
        found = {}
        if said is not None:
            said += out
        for ln in out:
            w = ln.split()
            if len(w) == 3 and w[0] == "F" and w[1] != "none":
                found[int(w[1])] = int(w[2])
        wrong = [ln for ln in out if ln.startswith("BAD")] + acks.lost(found)
        if rc and not wrong:
            wrong = [f"the judge ended with {rc}: {out[-5:]}"]
        return [f"{what}: {w}" for w in wrong]

    def judge_disk(self, what, fs, name, dev, acks, again=None, options=""):
        """The same of a disk nobody has mounted; AGAIN is called while recovery runs."""
        opts = "-o nouuid" if fs == "xfs" else ""
        # the size is the same, the content is another disk's: forget what the kernel knows of it
        out, rc = self.guest.run(f"blockdev --flushbufs {dev}; mount -t {fs} {opts} {dev} /mnt/x", check=False)
        if rc:
            return [f"{what}: {fs} does not mount: {out}; the kernel said {self.guest.run('dmesg | tail -12', check=False)[0]}"]
        if again:
            again()
        wrong = self.judge(what, "/mnt/x/a.twz", acks, options=options)
        self.guest.run("umount /mnt/x")
        return wrong

    def wait_for(self, what, is_so, seconds=240):
        """Wait until something has happened, however slow the machine is; False, and a fault, when it does not."""
        until = time.monotonic() + seconds
        while not is_so() and time.monotonic() < until:
            time.sleep(0.05)
        if not is_so():
            self.fault(f"{what}: in {seconds} s")
        return is_so()

    def result(self, text):
        self.say(f"{text}: {'FAILED' if self.faults else 'ok'}")
        for f in self.faults:
            print("FAIL:", f)
        return 1 if self.faults else 0


__all__ = ["Acks", "END_ALL", "Failed", "Scene"]
