"""A flood of numbered writes over NBD, which remembers what was acknowledged, and what a copy has of it."""

import socket
import struct
import threading
import time

BLOCK = 4096
WRITE, READ = 1, 0
REQUEST = struct.Struct(">IHHQQI")
REPLY = struct.Struct(">IIQ")


class Connection:
    """NBD, fixed newstyle, simple replies."""

    def __init__(self, path, export="v"):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.receive(18)
        name = export.encode()
        data = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
        # The client's flags, then NBD_OPT_GO.
        self.socket.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 7, len(data)) + data)
        while True:
            _, _, kind, length = struct.unpack(">QIII", self.receive(20))
            self.receive(length)
            if kind == 1:
                return
            if kind & 1 << 31:
                raise RuntimeError(f"the export is refused: {kind:x}")

    def receive(self, count):
        parts = []
        while count:
            part = self.socket.recv(count)
            if not part:
                raise ConnectionError("the server ended")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def ask(self, command, cookie, offset, length, payload=b""):
        self.socket.sendall(REQUEST.pack(0x25609513, 0, command, cookie, offset, length) + payload)

    def answer(self):
        """The cookie of a request that was done."""
        _, error, cookie = REPLY.unpack(self.receive(16))
        if error:
            raise RuntimeError(f"request {cookie} failed with {error}")
        return cookie


def content(run, write):
    return struct.pack("<QQ", run, write) * (BLOCK // 16)


class Flood:
    """Write `n` goes to block `n`; `depth` of them at once. When it ends nothing is said to the server."""

    block = BLOCK

    def __init__(self, path, size, run, depth=16):
        self.connection, self.run_number, self.depth = Connection(path), run, depth
        self.limit = size // BLOCK
        self.sent, self.acknowledged = {}, set()
        self.stopping = False
        self.worker = threading.Thread(target=self.work)

    def work(self):
        try:
            under_way = 0
            while not self.stopping:
                while under_way < self.depth and len(self.sent) < self.limit:
                    write = len(self.sent)
                    self.sent[write] = time.monotonic()
                    self.connection.ask(WRITE, write, write * BLOCK, BLOCK, content(self.run_number, write))
                    under_way += 1
                self.acknowledged.add(self.connection.answer())
                under_way -= 1
        except OSError:
            pass  # the server was killed

    def run(self, seconds):
        self.worker.start()
        time.sleep(seconds)

    def end(self):
        self.stopping = True
        self.worker.join()
        self.connection.socket.close()


def present(path, flood):
    """The writes of the flood that this server has."""
    connection, found = Connection(path), set()
    for write in range(len(flood.sent)):
        connection.ask(READ, write, write * BLOCK, BLOCK)
        connection.answer()
        if connection.receive(BLOCK) == content(flood.run_number, write):
            found.add(write)
    connection.socket.close()
    return found
