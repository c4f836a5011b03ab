# SPDX-License-Identifier: MIT
"""disk.py -- disks that lose their volatile cache, served to a virtual machine over NBD

A Disk keeps what was flushed (`durable`) apart from what was written since (`pending`). The machine sees both. cut() gives
the disk as it may be after the power has failed: of the writes since the last flush any subset, and of each any of its
sectors, whatever their order. Nothing more may be lost, nothing less is promised by a device. `sector` is what the device
writes whole: 512 bytes or 4096.

`bad` breaks the disk on purpose, to show that tests notice: "flush" acknowledges seven of eight flushes without doing anything.
"""
import os
import socket
import struct
import threading

BLOCK = 4096
SECTOR = 512
ZERO = bytes(BLOCK)


class Disk:
    def __init__(self, size, durable=None, bad=None, sector=SECTOR):
        self.size, self.bad, self.sector = size, bad, sector
        self.durable = durable if durable is not None else {}
        self.now, self.pending = {}, []
        self.lock = threading.Lock()
        self.writes = self.flushes = self.lost = 0

    @classmethod
    def from_file(cls, path, **kw):
        d = cls(os.path.getsize(path), **kw)
        with open(path, "rb") as f:
            n = 0
            while n * BLOCK < d.size:
                at = os.lseek(f.fileno(), n * BLOCK, os.SEEK_SET)
                b = os.read(f.fileno(), BLOCK)
                if b != ZERO:
                    d.durable[at // BLOCK] = b.ljust(BLOCK, b"\0")
                n += 1
        return d

    def save(self, path):
        with open(path, "wb") as f:
            f.truncate(self.size)
            for n in sorted({**self.durable, **self.now}):
                f.seek(n * BLOCK)
                f.write(self.block(n))

    def block(self, n):
        b = self.now.get(n)
        return b if b is not None else self.durable.get(n, ZERO)

    def read(self, off, length):
        out = bytearray()
        while length:
            n, at = divmod(off, BLOCK)
            piece = self.block(n)[at:at + length]
            out += piece
            off += len(piece)
            length -= len(piece)
        return bytes(out)

    @staticmethod
    def put(blocks, get, off, data):
        done = 0
        while done < len(data):
            n, at = divmod(off + done, BLOCK)
            piece = data[done:done + BLOCK - at]
            if len(piece) == BLOCK:
                blocks[n] = bytes(piece)
            else:
                b = bytearray(get(n))
                b[at:at + len(piece)] = piece
                blocks[n] = bytes(b)
            done += len(piece)

    def write(self, off, data):
        self.writes += 1
        self.pending.append((off, data))
        self.put(self.now, self.block, off, data)

    def flush(self):
        self.flushes += 1
        if self.bad == "flush" and self.flushes % 8:
            return
        self.durable.update(self.now)
        self.now, self.pending = {}, []

    def apply(self, writes):
        for off, data in writes:
            self.put(self.durable, lambda n: self.durable.get(n, ZERO), off, data)

    def cut(self, rng):
        with self.lock:
            after = Disk(self.size, dict(self.durable), self.bad, self.sector)
            pending = list(self.pending)
        after.apply(lose(pending, rng, self.sector))
        after.lost = len(pending)
        return after


def lose(writes, rng, sector):
    """What is left of these writes: all, none, or some, some of them torn."""
    keep = rng.choice([0, 0.1, 0.5, 0.9, 1])
    torn = rng.choice([0, 0, 0.1, 0.5])
    left = []
    for off, data in writes:
        if rng.random() < torn:
            at = 0
            while at < len(data):
                n = sector - (off + at) % sector
                if rng.random() < 0.5:
                    left.append((off + at, data[at:at + n]))
                at += n
        elif rng.random() < keep:
            left.append((off, data))
    return left


class Server:
    """The NBD server: fixed newstyle, one thread per connection. `disks` may be changed between requests, by name."""
    READ, WRITE, DISC, FLUSH, TRIM = range(5)

    def __init__(self, path, disks):
        self.disks, self.path = disks, path
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path)
        self.sock.listen(8)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.client, args=(c,), daemon=True).start()

    def close(self):
        self.sock.close()

    def client(self, c):
        try:
            with c, c.makefile("rb") as f:
                name = self.hello(c, f)
                if name is not None:
                    self.serve(c, f, name)
        except (OSError, EOFError, struct.error, KeyError):
            pass  # the machine was killed

    @staticmethod
    def take(f, n):
        b = f.read(n)
        if len(b) < n:
            raise EOFError
        return b

    def hello(self, c, f):
        c.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        flags = 1 | 4 | 32  # has flags, flush, trim (which does nothing)
        self.take(f, 4)
        while True:
            _, opt, n = struct.unpack(">QII", self.take(f, 16))
            data = self.take(f, n)

            def reply(kind, body=b""):
                c.sendall(struct.pack(">QIII", 0x3e889045565a9, opt, kind, len(body)) + body)

            if opt in (6, 7):  # info, go
                ln, = struct.unpack(">I", data[:4])
                name = data[4:4 + ln].decode()
                reply(3, struct.pack(">HQH", 0, self.disks[name].size, flags))
                reply(3, struct.pack(">HIII", 3, SECTOR, BLOCK, 1 << 25))
                reply(1)
                if opt == 7:
                    return name
            elif opt == 2:  # abort
                reply(1)
                return None
            else:
                reply(0x80000001)

    def serve(self, c, f, name):
        while True:
            _, _, kind, handle, off, n = struct.unpack(">IHHQQI", self.take(f, 28))
            out = b""
            data = self.take(f, n) if kind == self.WRITE else b""
            if kind == self.DISC:
                return
            d = self.disks[name]
            with d.lock:
                if kind == self.READ:
                    out = d.read(off, n)
                elif kind == self.WRITE:
                    d.write(off, data)
                elif kind == self.FLUSH:
                    d.flush()
            c.sendall(struct.pack(">IIQ", 0x67446698, 0, handle) + out)
