"""What the measuring programs share: building, running fio, what processes used."""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))


def processor_seconds(processes):
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0
    for process in processes:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / ticks


def memory(processes):
    """MiB, shared pages counted in proportion."""
    total = 0
    for process in processes:
        with open(f"/proc/{process}/smaps_rollup", encoding="utf-8") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total / 1024


def fio(target, options, seconds):
    command = [
        "fio", "--name=bench", *target.fio(), *options, "--time_based", f"--runtime={seconds}", "--ramp_time=0.5",
        f"--size={target.size}", "--randrepeat=0", "--norandommap", "--thread", "--eta=never", "--output-format=json",
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=target.folder)
    if done.returncode != 0:
        raise RuntimeError(f"fio on {target.name}: {done.stderr.strip() or done.stdout[-400:]}")
    # Notes of fio's may stand before the JSON.
    return json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]


def build(output):
    subprocess.run([os.path.join(TOP, "Tools/install")], check=True)
    subprocess.run([os.path.join(TOP, "Tools/build"), "product"], check=True, stdout=subprocess.DEVNULL)
    programs = []
    for name, libraries in (("floor", ["-luring"]), ("link", [])):
        programs.append(os.path.join(output, name))
        source = os.path.join(HERE, name + ".c")
        subprocess.run(["cc", "-O2", "-Wall", "-o", programs[-1], source, *libraries], check=True)
    return [os.path.join(TOP, ".build/release/hablk")] + programs


def say(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
