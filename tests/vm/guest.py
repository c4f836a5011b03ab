# SPDX-License-Identifier: MIT
"""guest.py -- a small virtual machine that obeys: Debian's kernel, busybox, the test program, what it needs

A Guest boots QEMU with an initramfs put together here, and runs shell commands in it over a virtio port. Other ports carry what the
workload acknowledges, line by line, out of the machine. kill() is SIGKILL for QEMU: the machine stops between two
instructions, its memory is gone, its disks (disk.py) have what reached them.
"""
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "crc32c_generic", "ext4", "xfs", "dm_mod", "dm_log_writes", "dm_flakey",
           "nfit", "nd_pmem", "nd_btt"]
TOOLS = ["/bin/busybox", "dmsetup", "mkfs.ext4", "mkfs.xfs", "e2fsck", "xfs_repair"]


PATIENCE = 4  # times what something takes by the processor, it may take by the clock


class Failed(Exception):
    pass


def die_with_parent():
    """In a child: an emulator must not outlive a test that was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


# --- the initramfs: a cpio archive, format newc ---

class Cpio:
    def __init__(self, f):
        self.f, self.ino, self.have = f, 1, set()

    def entry(self, name, mode, data=b"", rdev=(0, 0)):
        if name in self.have:
            return
        self.have.add(name)
        if name != "TRAILER!!!" and "/" in name:
            self.dir(os.path.dirname(name))
        self.ino += 1
        n = name.encode() + b"\0"
        head = b"070701" + b"".join(b"%08X" % v for v in (
            self.ino, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(n), 0))
        self.f.write((head + n).ljust((len(head) + len(n) + 3) // 4 * 4, b"\0"))
        self.f.write(data.ljust((len(data) + 3) // 4 * 4, b"\0"))

    def dir(self, name):
        if name:
            self.entry(name, 0o040755)

    def file(self, name, path, mode=0o755):
        with open(path, "rb") as f:
            self.entry(name.lstrip("/"), 0o100000 | mode, f.read())

    def link(self, name, target):
        self.entry(name, 0o120777, target.encode())

    def end(self):
        self.entry("TRAILER!!!", 0)


def libraries(path):
    out = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return re.findall(r"(/\S+) \(0x", out)


def modules_in_order(kernel, wanted):
    """Paths of the modules, each behind what it depends on; what is built in is left out."""
    base = kernel.modules
    deps, by_name = {}, {}
    with open(f"{base}/modules.dep") as f:
        for line in f:
            m, d = line.strip().split(":", 1)
            deps[m] = d.split()
            by_name[re.sub(r"\.ko.*", "", os.path.basename(m)).replace("-", "_")] = m
    order = []

    def add(m):
        for d in reversed(deps[m]):
            add(d)
        if m not in order:
            order.append(m)

    for name in wanted:
        if name in by_name:
            add(by_name[name])
    return [f"{base}/{m}" for m in order]


class Kernel:
    """What kernel.sh found or fetched: DIR/vmlinuz, DIR/modules."""
    def __init__(self, dir_):
        self.image, self.modules = f"{dir_}/vmlinuz", f"{dir_}/modules"
        if not os.path.exists(self.image) or not os.path.exists(f"{self.modules}/modules.dep"):
            raise Failed(f"no kernel in {dir_}: tests/vm/kernel.sh {dir_} finds or fetches one (./dev setup does)")


def make_initramfs(path, kernel, programs):
    tmp = path + ".tmp"
    with open(tmp, "wb") as f:
        c = Cpio(f)
        for d in ("proc", "sys", "dev", "mnt", "tmp", "run", "etc"):
            c.dir(d)
        c.entry("dev/console", 0o020600, rdev=(5, 1))
        c.entry("etc/mtab", 0o100644)
        c.file("init", f"{HERE}/init")
        c.file("bin/watched", f"{HERE}/watched")
        for t in TOOLS + programs:
            full = t if t.startswith("/") else shutil.which(t, path="/usr/sbin:/sbin:/usr/bin:/bin")
            if not full:
                raise Failed(f"no {t} here: ./dev setup installs it")
            stripped = tmp + ".bin"
            subprocess.run(["strip", "-o", stripped, full], check=True)
            c.file("bin/" + os.path.basename(full), stripped)
            os.unlink(stripped)
            for lib in libraries(full):
                c.file(os.path.realpath(lib), os.path.realpath(lib))
                if lib.lstrip("/") not in c.have:
                    c.link(lib.lstrip("/"), os.path.realpath(lib))
        names = []
        for i, m in enumerate(modules_in_order(kernel, MODULES)):
            names.append(f"{i:02d}-{os.path.basename(m)}")
            data = subprocess.run(["xz", "-dc", m], capture_output=True, check=True).stdout if m.endswith(".xz") else open(m, "rb").read()
            c.entry("modules/" + names[-1].removesuffix(".xz"), 0o100644, data)
        c.end()
    os.rename(tmp, path)


# --- the machine ---

class Line:
    """One end of a virtio port: lines from the guest, as they come."""
    def __init__(self, path, on_line):
        self.sock = socket.socket(socket.AF_UNIX)
        for _ in range(200):
            try:
                self.sock.connect(path)
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise Failed("QEMU does not start")
        self.thread = threading.Thread(target=self.read, args=(on_line,), daemon=True)
        self.thread.start()

    def read(self, on_line):
        buf = b""
        while True:
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                on_line(None)
                return
            buf += data
            *lines, buf = buf.split(b"\n")
            for ln in lines:
                on_line(ln.decode(errors="replace"))


class Guest:
    """disks: names exported by the NBD server at NBD; acks: per virtio port a function called with each line."""
    def __init__(self, dir_, kernel, initramfs, nbd=None, disks=(), acks=(), smp=1, memory="512M", machine="q35",
                 extra=(), append=""):
        self.dir, self.lines, self.cond, self.gone = dir_, [], threading.Condition(), False
        self.console = f"{dir_}/console"
        ports = ["control"] + [f"ack{i}" for i in range(len(acks))]
        args = ["qemu-system-x86_64", "-M", machine, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(smp), "-m", str(memory),
                "-nographic", "-nodefaults", "-no-reboot", "-kernel", kernel.image, "-initrd", initramfs,
                "-append", "console=ttyS0 loglevel=7 panic=-1 oops=panic unknown_nmi_panic=1 random.trust_cpu=on " + append,
                "-serial", f"file:{self.console}", "-monitor", f"unix:{dir_}/monitor,server=on,wait=off", "-device", "virtio-serial-pci"]
        for i, p in enumerate(["monitor"] + ports):
            path = f"{dir_}/{p}"
            if os.path.exists(path):
                os.unlink(path)
            if p == "monitor":
                continue
            args += ["-chardev", f"socket,id={p},path={path},server=on,wait=off", "-device", f"virtserialport,chardev={p},nr={i}"]
        for d in disks:
            args += ["-drive", f"file=nbd:unix:{nbd}:exportname={d},format=raw,if=none,id={d},cache=none,discard=ignore",
                     "-device", f"virtio-blk-pci,drive={d},serial={d}"]
        self.log = open(f"{dir_}/qemu.log", "w")
        self.proc = subprocess.Popen(args + list(extra), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                     preexec_fn=die_with_parent)
        try:
            self.control = Line(f"{dir_}/control", self.heard)
            self.acks = [Line(f"{dir_}/ack{i}", fn) for i, fn in enumerate(acks)]
            self.answer("READY", 60)
        except BaseException:
            self.kill()
            raise

    def heard(self, line):
        with self.cond:
            if line is None:
                self.gone = True
            else:
                self.lines.append(line)
            self.cond.notify_all()

    def used(self):
        """Processor seconds the emulator has had."""
        try:
            with open(f"/proc/{self.proc.pid}/stat") as f:
                n = f.read().rpartition(")")[2].split()
        except OSError:
            return 0
        return (int(n[11]) + int(n[12])) / os.sysconf("SC_CLK_TCK")

    def answer(self, end, timeout):
        """Lines up to the one that begins with END; (lines, that line). On a busy machine an emulator gets little of it: what has TIMEOUT
        seconds are its own; by the clock it may take PATIENCE times as long, since one that waits uses none."""
        until, before = time.monotonic() + PATIENCE * timeout, self.used()
        with self.cond:
            while True:
                for i, ln in enumerate(self.lines):
                    if ln.startswith(end):
                        got, self.lines = self.lines[:i], self.lines[i + 1:]
                        return got, ln
                left = until - time.monotonic()
                if self.gone or left <= 0 or self.used() - before > timeout:
                    where = "" if self.gone else self.where()
                    raise Failed(f"the guest {'stopped' if self.gone else f'has not answered in {timeout} s of its own'}; it said {self.lines[-20:]}\n"
                                 + self.tail() + where)
                self.cond.wait(min(left, 1))

    def where(self):
        """Where a guest is that says nothing: its processors, and, on its console, the stacks its kernel prints when it gets an NMI."""
        out = b""
        try:
            with socket.socket(socket.AF_UNIX) as m:
                m.settimeout(3)
                m.connect(f"{self.dir}/monitor")
                m.sendall(b"info status\ninfo registers -a\nnmi\n")
                while True:
                    data = m.recv(65536)
                    if not data:
                        break
                    out += data
        except OSError:
            pass  # enough
        said = [ln for ln in re.sub(r"\x1b\[\w", "", out.decode(errors="replace")).splitlines() if re.search(r"VM status|CPU#|[ER]IP=", ln)]
        return "\nThe emulator: " + " | ".join(said) + "\n" + self.tail()

    def tail(self):
        out = open(self.console, errors="replace").read()[-3000:] if os.path.exists(self.console) else ""
        return out + open(self.log.name).read()[-1000:]

    def run(self, command, timeout=180, check=True):
        """Run a shell command (one line); its output, or (output, exit code) without CHECK."""
        self.control.sock.sendall(command.encode() + b"\n")
        out, end = self.answer("@RC ", timeout)
        rc = int(end[4:])
        if check and rc:
            raise Failed(f"in the guest: {command}: exit code {rc}: {out}\n" + self.tail())
        return out if check else (out, rc)

    def alive(self):
        return self.proc.poll() is None

    def kill(self):
        self.proc.kill()
        self.proc.wait()
        for ln in [getattr(self, "control", None)] + getattr(self, "acks", []):
            if ln:
                ln.thread.join(5)
                ln.sock.close()
        self.log.close()
