"""What is measured: each target is started, named by a file or an NBD URI, and ended again."""

import json
import os
import signal
import socket
import subprocess
import time


def wait_for(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds} s for {what}")
        time.sleep(0.02)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def filled(path, size):
    """A file whose blocks are all allocated: the first write of a sparse one measures the file system."""
    with open(path, "wb") as file:
        piece = bytes(1 << 20)
        for _ in range(size >> 20):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


class Target:
    """`fio` options say where it is; `processes` are those whose time and memory count."""

    def __init__(self, name, folder, size):
        self.name, self.size = name, size
        self.folder = os.path.join(folder, name)
        os.makedirs(self.folder)
        self.children = []
        self.log = open(self.path("log"), "wb")

    def path(self, name):
        return os.path.join(self.folder, name)

    def disk(self, name):
        filled(self.path(name), self.size)
        return self.path(name)

    def run(self, *command, **options):
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, **options)
        self.children.append(child)
        return child

    def socket_is_there(self, path):
        wait_for(lambda: os.path.exists(path), f"{self.name}'s socket")
        return f"nbd+unix:///?socket={path}"

    def fio(self):
        return ["--ioengine=nbd", f"--uri={self.uri}"]

    def processes(self):
        return [child.pid for child in self.children]

    def stop(self):
        for child in reversed(self.children):
            child.kill()
            child.wait()
        self.log.close()


class BareFile(Target):
    about = "the file itself, O_DIRECT, io_uring"

    def start(self):
        self.file = self.disk("disk")

    def fio(self):
        return ["--ioengine=io_uring", "--direct=1", f"--filename={self.file}"]


class Floor(Target):
    about = "floor.c: two copies, nothing but the I/O"

    def __init__(self, name, folder, size, program):
        super().__init__(name, folder, size)
        self.program = program

    def start(self):
        port = free_port()
        self.run(self.program, "secondary", str(port), self.disk("secondary"))
        time.sleep(0.3)
        self.run(self.program, "primary", self.path("socket"), self.disk("primary"), str(port))
        self.uri = self.socket_is_there(self.path("socket"))


class Hablk(Target):
    """Two nodes on this machine; `alone`: the peer is away and left behind."""

    def __init__(self, name, folder, size, program, alone=False, log_extents=None):
        super().__init__(name, folder, size)
        self.program, self.alone, self.log_extents = program, alone, log_extents
        self.about = "hablk, one copy, the peer away" if alone else "hablk, two copies, replication: sync"
        if log_extents:
            self.about += f", activity log of {log_extents} extents"

    def hablk(self, node, *words):
        surroundings = dict(os.environ, HABLK_NODE=node, HABLK_CONFIG_DIR=self.configuration_folder(node))
        surroundings["HABLK_RUNTIME_DIR"] = self.path(f"run-{node}")
        done = subprocess.run(
            (self.program,) + words, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"hablk {' '.join(words)} on {node}: {done.stderr.strip()}")
        return done.stdout

    def configuration_folder(self, _):
        return self.path("etc")

    def start(self):
        nodes = []
        for node in ("alpha", "bravo"):
            os.makedirs(self.path(f"run-{node}"))
            # Metadata stand at the end of the disk.
            filled(self.path(node), self.size + (4 << 20))
            nodes += ["--node", f"{node}=127.0.0.1:{free_port()},{self.path(node)}"]
        # Both are zeroes all over.
        self.hablk("alpha", "create", "v", "--size", str(self.size), "--quorum", "off", "--assume-identical", *nodes)
        if self.log_extents:
            with open(self.path("etc/v.yaml"), "a", encoding="utf-8") as file:
                file.write(f"activity-log: {self.log_extents}\n")
            filled(self.path("alpha"), self.size + (4 << 20))
            self.hablk("alpha", "create", "v", "--assume-identical")
        self.hablk("bravo", "create", "v", "--assume-identical")
        for node in ("alpha", "bravo"):
            self.hablk(node, "up", "v")
        self.hablk("alpha", "wait", "v", "--for", "connected", "--timeout", "20s")
        self.hablk("alpha", "promote", "v", "--timeout", "20s")
        if self.alone:
            self.hablk("bravo", "down", "v")
        self.uri = f"nbd+unix:///v?socket={self.path('run-alpha')}/v.nbd"

    def status(self, node="alpha"):
        return json.loads(self.hablk(node, "status", "v", "--json"))

    def processes(self):
        return [self.status(node)["pid"] for node in (["alpha"] if self.alone else ["alpha", "bravo"])]

    def leave_everything_behind(self):
        """The peer is away while all of the volume is written."""
        self.hablk("bravo", "down", "v")
        subprocess.run(
            ["fio", "--name=fill", *self.fio(), "--rw=write", "--bs=1m", "--iodepth=4", f"--size={self.size}"],
            check=True, capture_output=True, stdin=subprocess.DEVNULL)

    def begin_resync(self):
        self.hablk("bravo", "up", "v")

    def end_resync(self):
        """MiB a second."""
        self.hablk("alpha", "wait", "v", "--for", "in-sync", "--timeout", "300s")
        last = self.status()["peers"][0]["last-resync"]
        return last["bytes"] / last["seconds"] / (1 << 20)

    def resync(self):
        self.leave_everything_behind()
        self.begin_resync()
        return self.end_resync()

    def stop(self):
        for node in ("alpha", "bravo"):
            try:
                process = self.status(node)["pid"]
            except RuntimeError:
                continue  # it does not run
            try:
                self.hablk(node, "down", "v")
            except RuntimeError:
                os.kill(process, signal.SIGKILL)
        super().stop()


class Distant(Hablk):
    """Two nodes each of whose connections leads through a link."""

    def __init__(self, name, folder, size, programs, mode, delay, rate, settings=()):
        super().__init__(name, folder, size, programs[0])
        self.link, self.mode, self.delay, self.rate, self.settings = programs[1], mode, delay, rate, settings
        self.ports = {node: (free_port(), free_port()) for node in ("alpha", "bravo")}
        self.about = f"{mode}, {delay:g} ms each way"

    def configuration_folder(self, node):
        return self.path(f"etc-{node}")

    def configuration(self, node):
        lines = ["volume: v", f"size: {self.size}", f"replication: {self.mode}", "quorum: off", *self.settings, "nodes:"]
        for number, (name, (port, through)) in enumerate(self.ports.items()):
            there = port if name == node else through
            listen = f', listen: "127.0.0.1:{port}"' if name == node else ""
            lines.append(f'  {name}: {{id: {number}, address: "127.0.0.1:{there}", disk: {self.path(name)}{listen}}}')
        return "\n".join(lines) + "\n"

    def lay_links(self):
        for port, through in self.ports.values():
            self.run(self.link, str(through), str(port), str(self.delay), str(self.rate))

    def start(self):
        self.lay_links()
        for node in self.ports:
            os.makedirs(self.path(f"run-{node}"))
            os.makedirs(self.configuration_folder(node))
            with open(os.path.join(self.configuration_folder(node), "v.yaml"), "w", encoding="utf-8") as file:
                file.write(self.configuration(node))
            filled(self.path(node), self.size + (4 << 20))
            self.hablk(node, "create", "v", "--assume-identical")
            self.hablk(node, "up", "v")
        self.hablk("alpha", "wait", "v", "--for", "connected", "--timeout", "20s")
        self.hablk("alpha", "promote", "v", "--timeout", "20s")
        self.uri = f"nbd+unix:///v?socket={self.socket('alpha')}"

    def socket(self, node):
        return os.path.join(self.path(f"run-{node}"), "v.nbd")

    def catch_up(self):
        """What was measured last is on both disks."""
        wait_for(lambda: self.status()["peers"][0]["lag-bytes"] == 0, "the copy", 120)

    def kill(self, node):
        """The node and what is on the wire, at once; says when."""
        process = self.status(node)["pid"]
        for child in self.children:
            child.kill()
        os.kill(process, signal.SIGKILL)
        died = time.monotonic()
        for child in self.children:
            child.wait()
        self.children = []
        self.lay_links()
        return died

    def revive(self, node):
        self.hablk(node, "up", "v")
        self.hablk(node, "wait", "v", "--for", "in-sync", "--timeout", "120s")


class QemuMirror(Target):
    about = "qemu-storage-daemon, mirror in write-blocking mode to qemu-nbd over TCP"

    def start(self):
        port = free_port()
        copy = self.disk("copy")
        self.run("qemu-nbd", "--bind=127.0.0.1", f"--port={port}", "--format=raw", "--cache=none", "--aio=io_uring",
                 "--persistent", copy)
        monitor = self.path("monitor")
        self.run(
            "qemu-storage-daemon",
            "--blockdev", f"driver=file,node-name=file,filename={self.disk('disk')},cache.direct=on,aio=io_uring",
            "--blockdev", "driver=raw,node-name=disk,file=file",
            "--nbd-server", f"addr.type=unix,addr.path={self.path('socket')}",
            "--export", "type=nbd,id=export,node-name=disk,name=,writable=on",
            "--chardev", f"socket,id=monitor,path={monitor},server=on,wait=off", "--monitor", "chardev=monitor")
        self.uri = self.socket_is_there(self.path("socket"))
        wait_for(lambda: os.path.exists(monitor), "the monitor")
        self.monitor = socket.socket(socket.AF_UNIX)
        self.monitor.connect(monitor)
        self.lines = self.monitor.makefile("rw")
        self.lines.readline()
        self.ask("qmp_capabilities")
        self.ask("blockdev-add", driver="nbd", **{"node-name": "copy"},
                 server={"type": "inet", "host": "127.0.0.1", "port": str(port)})
        began = time.monotonic()
        self.ask("blockdev-mirror", **{
            "job-id": "mirror", "device": "disk", "target": "copy", "sync": "full", "copy-mode": "write-blocking"})
        wait_for(lambda: self.ask("query-jobs")[0]["status"] == "ready", "the mirror", 300)
        self.full_copy = self.size / (time.monotonic() - began) / (1 << 20)

    def ask(self, command, **words):
        self.lines.write(json.dumps({"execute": command, "arguments": words}) + "\n")
        self.lines.flush()
        while True:
            answer = json.loads(self.lines.readline())
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def resync(self):
        return self.full_copy


class QemuNBD(Target):
    about = "qemu-nbd, one copy, O_DIRECT, io_uring"

    def start(self):
        self.run("qemu-nbd", f"--socket={self.path('socket')}", "--format=raw", "--cache=none", "--aio=io_uring",
                 "--persistent", "--shared=8", self.disk("disk"))
        self.uri = self.socket_is_there(self.path("socket"))


class NBDKit(Target):
    about = "nbdkit, one copy, through the page cache"

    def start(self):
        self.run("nbdkit", "--foreground", f"--unix={self.path('socket')}", "file", self.disk("disk"))
        self.uri = self.socket_is_there(self.path("socket"))
