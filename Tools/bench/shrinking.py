"""What `compression` gains over a thin link, and what it costs: different contents copied into a volume."""

import glob
import itertools
import os
import random
import sqlite3
import subprocess
import time

import report
from machine import TOP, processor_seconds, say
from targets import Distant

BYTES = 16 << 20
REQUESTS = {"1 MiB": 1 << 20, "4 KiB": 4096}


def database(path):
    """Pages of 8 KiB with rows and an index, the same every time."""
    source = random.Random(1)
    words = [f"{one}{two}" for one in ("pay", "ord", "cust", "in", "ship") for two in ("er", "ment", "voice", "ing", "oice")]
    with sqlite3.connect(path) as base:
        base.execute("pragma page_size=8192")
        base.execute("create table t(number integer primary key, name, mail, amount, made, token)")
        for number in range(130_000):
            base.execute("insert into t values(?,?,?,?,?,?)", (
                number, " ".join(source.choices(words, k=3)), f"user{source.randrange(10**6)}@example.org",
                source.random() * 1000, f"2026-{source.randrange(1, 13):02}-{source.randrange(1, 29):02}",
                source.randbytes(16)))
        base.execute("create index i on t(mail)")
    os.truncate(path, BYTES)


def text(path):
    """This repository's own."""
    files = sorted(glob.glob(os.path.join(TOP, "Sources/**/*.swift"), recursive=True))
    with open(path, "wb") as output:
        for name in itertools.cycle(files):
            with open(name, "rb") as file:
                output.write(file.read())
            if output.tell() >= BYTES:
                break
    os.truncate(path, BYTES)


def noise(path):
    with open(path, "wb") as output:
        output.write(random.Random(2).randbytes(BYTES))


def zeroes(path):
    with open(path, "wb") as output:
        output.write(bytes(BYTES))


CONTENTS = {"database": database, "text": text, "random": noise, "zeroes": zeroes}


def measure(options, folder, programs):
    """MiB a second that a client writes, what of it went over the link, and processor time of both nodes."""
    results = []
    for content, make in CONTENTS.items():
        make(os.path.join(folder, content))
    rate = int(options.rate * 1e6 / 8)
    delay = options.delays[-1]
    for compression in options.compressions:
        target = Distant(
            f"compression-{compression}", folder, BYTES, programs, "sync", delay, rate,
            [f"compression: {compression}", "timeout: 60s"])
        try:
            target.start()
            processes = [target.status(node)["pid"] for node in ("alpha", "bravo")]
            for content, (words, size) in itertools.product(CONTENTS, REQUESTS.items()):
                for _ in range(options.rounds):
                    say(f"{compression}, {content}, {words}")
                    peer, used, began = target.status()["peers"][0], processor_seconds(processes), time.monotonic()
                    subprocess.run(
                        ["nbdcopy", "--flush", "--allocated", f"--request-size={size}",
                         f"--requests={min(256, (4 << 20) // size)}", "--connections=1",
                         os.path.join(folder, content), target.uri], check=True, stdin=subprocess.DEVNULL)
                    seconds = time.monotonic() - began
                    now = target.status()["peers"][0]
                    results.append({
                        "compression": compression, "content": content, "writes": words,
                        "MiB/s": BYTES / seconds / (1 << 20),
                        "wire": (now["wire-bytes"] - peer["wire-bytes"]) / (now["sent-bytes"] - peer["sent-bytes"]),
                        "processor s/GiB": (processor_seconds(processes) - used) * (1 << 30) / BYTES})
        finally:
            target.stop()
    return results


def table(results):
    kinds = list(dict.fromkeys((run["content"], run["writes"]) for run in results))
    names = list(dict.fromkeys(run["compression"] for run in results))
    rows = []
    for content, writes in kinds:
        row = [f"{content}, {writes}"]
        for name in names:
            runs = [run for run in results if (run["content"], run["writes"], run["compression"]) == (content, writes, name)]
            cells = [report.median([run[key] for run in runs]) for key in ("MiB/s", "wire", "processor s/GiB")]
            row.append(f"{cells[0]:.2f}, {cells[1]:.1%}, {cells[2]:.1f}")
        rows.append(row)
    return report.table(["MiB/s, on the wire, processor s/GiB"] + names, rows)
