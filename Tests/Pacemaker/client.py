#!/usr/bin/env python3
"""A client that writes through everything that happens to a cluster, and remembers what was acknowledged.

client.py write RECORD SOCKET…    writes blocks that say which write they came from, wherever the primary is, until SIGTERM;
                                  reads back meanwhile; then RECORD says what is to be found. SOCKET: a path, or ADDRESS:PORT
client.py check RECORD IMAGE…     whether each image holds it, and whether the images' first RECORD.size bytes are equal
"""
import json
import random
import signal
import socket
import struct
import sys
import time

BLOCK = 4096
DEPTH = 8
# The end of the volume is for drills.
SPARED = 4 << 20
REQUEST, REPLY = 0x25609513, 0x67446698
READ, WRITE, FLUSH = 0, 1, 3
FUA = 1 << 16
ESHUTDOWN = 108


class Gone(Exception):
    """No export there, or no longer."""


class Connection:
    """One NBD connection, without structured replies."""

    def __init__(self, path, export):
        is_remote = not path.startswith("/")
        self.socket = socket.socket(socket.AF_INET if is_remote else socket.AF_UNIX)
        try:
            self.socket.settimeout(2)
            if is_remote:
                address, port = path.rsplit(":", 1)
                # A machine that is off says nothing; who still hears of it by then asks elsewhere.
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2000)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)):
                    self.socket.setsockopt(socket.IPPROTO_TCP, option, value)
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                self.socket.connect((address, int(port)))
            else:
                self.socket.connect(path)
            magic, option, flags = struct.unpack(">8sQH", self.take(18))
            if magic != b"NBDMAGIC":
                raise Gone
            name = export.encode()
            body = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
            self.socket.sendall(struct.pack(">I", flags & 3) + struct.pack(">QII", option, 7, len(body)) + body)
            while True:
                _, _, kind, length = struct.unpack(">QIII", self.take(20))
                data = self.take(length)
                if kind == 1:
                    break
                if kind >= 1 << 31:
                    raise Gone
                if kind == 3 and data[:2] == b"\0\0":
                    (self.size,) = struct.unpack(">Q", data[2:10])
            # A frozen primary is waited for as its clients do: until the cluster ends it.
            self.socket.settimeout(None)
        except (OSError, Gone):
            self.socket.close()
            raise Gone from None

    def take(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise Gone
            data += piece
        return data

    def send(self, kind, cookie, offset=0, length=0, data=b"", flags=0):
        self.socket.sendall(struct.pack(">IIQQI", REQUEST, flags | kind, cookie, offset, length) + data)

    def reply(self):
        magic, error, cookie = struct.unpack(">IIQ", self.take(16))
        if magic != REPLY:
            raise Gone
        return error, cookie


def content(block, number):
    return struct.pack(">QQ", block, number) * (BLOCK // 16)


def number_in(data, block):
    """Which write it came from: 0 for none, nothing for what no write ever was."""
    if not any(data):
        return 0
    found, number = struct.unpack(">QQ", data[:16])
    return number if found == block and data == content(block, number) else None


class Client:
    def __init__(self, record, sockets):
        self.record, self.sockets, self.export = record, sockets, "r0"
        self.random = random.Random(1)
        self.acknowledged, self.issued = {}, {}
        self.outstanding = {}
        # No number is used by two runs.
        self.number = time.time_ns()
        self.count = self.reads = self.connections = 0
        self.stalls, self.errors, self.wrong = [], [], []
        self.last = None
        self.size = 0
        self.stopping = None
        signal.signal(signal.SIGTERM, self.stop)

    def stop(self, *_):
        self.stopping = time.time()

    def run(self):
        connection = None
        while not self.is_done():
            try:
                connection = connection or self.connect()
                if connection:
                    self.step(connection)
                else:
                    time.sleep(0.02)
            except (OSError, Gone):
                connection = None
        self.finish()

    def is_done(self):
        if self.stopping and time.time() > self.stopping + 60:
            self.wrong.append("still waiting for replies a minute after the end")
            return True
        return self.stopping and not any(kind == WRITE for kind, _, _ in self.outstanding.values())

    def connect(self):
        for path in self.sockets:
            try:
                connection = Connection(path, self.export)
            except Gone:
                continue
            self.connections += 1
            self.size = connection.size
            again = self.outstanding
            self.outstanding = {}
            for kind, block, number in again.values():
                if kind == WRITE:
                    self.send_write(connection, block, number)
            return connection
        return None

    def send_write(self, connection, block, number):
        self.outstanding[number] = (WRITE, block, number)
        connection.send(WRITE, number, block * BLOCK, BLOCK, content(block, number), FUA if number % 16 == 0 else 0)

    def free_block(self):
        busy = {block for _, block, _ in self.outstanding.values()}
        while True:
            # Half of the writes go to a few blocks.
            count = (self.size - SPARED) // BLOCK
            block = self.random.randrange(32 if self.random.random() < 0.5 else count)
            if block not in busy:
                return block

    def step(self, connection):
        while len(self.outstanding) < DEPTH and not self.stopping:
            self.number += 1
            block = self.free_block()
            if self.number % 8 == 0:
                self.outstanding[self.number] = (READ, block, self.acknowledged.get(block, 0))
                connection.send(READ, self.number, block * BLOCK, BLOCK)
            elif self.number % 64 == 1:
                self.outstanding[self.number] = (FLUSH, None, 0)
                connection.send(FLUSH, self.number)
            else:
                self.issued[block] = self.number
                self.send_write(connection, block, self.number)
        error, cookie = connection.reply()
        kind, block, number = self.outstanding[cookie]
        data = connection.take(BLOCK) if kind == READ and not error else None
        if error == ESHUTDOWN:
            raise Gone
        if error:
            self.errors.append([time.time(), error])
            raise Gone
        del self.outstanding[cookie]
        if kind == READ:
            self.reads += 1
            found = number_in(data, block)
            # What an earlier run left is not ours to judge.
            if block in self.issued and (found is None or not number <= found <= self.issued[block]):
                self.wrong.append(f"read {found} in block {block}, acknowledged is {number}")
        elif kind == WRITE:
            self.acknowledged[block] = number
            self.count += 1
            now = time.time()
            if self.last and now - self.last > 0.25:
                self.stalls.append([self.last, now - self.last])
            self.last = now
        # A rate that leaves the machine to the cluster.
        time.sleep(0.001)

    def finish(self):
        summary = {
            "size": self.size, "writes": self.count, "reads": self.reads, "connections": self.connections,
            "stall": max((length for _, length in self.stalls), default=0), "stalls": self.stalls,
            "errors": self.errors, "wrong": self.wrong, "acknowledged": self.acknowledged, "issued": self.issued,
        }
        with open(self.record, "w") as file:
            json.dump(summary, file)


def check(record, images):
    with open(record) as file:
        told = json.load(file)
    failures = list(told["wrong"])
    if not told["writes"]:
        failures.append("nothing was written")
    failures += [f"error {code} at {when:.3f}" for when, code in told["errors"]]
    for image in images:
        lost = 0
        with open(image, "rb") as file:
            for block, number in told["acknowledged"].items():
                file.seek(int(block) * BLOCK)
                found = number_in(file.read(BLOCK), int(block))
                if found is None or not number <= found <= told["issued"][block]:
                    lost += 1
        if lost:
            failures.append(f"{lost} acknowledged writes are not in {image}")
    different = 0
    with open(images[0], "rb") as one, open(images[1], "rb") as other:
        for _ in range(told["size"] // (1 << 20)):
            if one.read(1 << 20) != other.read(1 << 20):
                different += 1
    if different:
        failures.append(f"{different} MiB of the copies differ")
    print(f"writes {told['writes']} reads {told['reads']} stall {told['stall']:.1f} s lost {'0' if not failures else '?'}")
    for line in failures[:10]:
        print(f"  {line}")
    return not failures


if __name__ == "__main__":
    if len(sys.argv) >= 4 and sys.argv[1] == "write":
        Client(sys.argv[2], sys.argv[3:]).run()
    elif len(sys.argv) == 5 and sys.argv[1] == "check":
        sys.exit(0 if check(sys.argv[2], sys.argv[3:]) else 1)
    else:
        print(__doc__, file=sys.stderr)
        sys.exit(64)
