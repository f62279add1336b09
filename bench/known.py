"""What `rondo run` says of programs whose use is known, beside GNU time, con-duct and psrecord, where they are there.

    python bench/known.py                # all of them, in full size: 2 GiB of memory, 1 GiB of disk, some minutes
    python bench/known.py --scale 0.1    # a tenth of the sizes and times
    python bench/known.py --only spike forks

Of other tools what they print is read. A cell that a tool has no word for is "-".
"""

import argparse
import json
import math
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from harness import Report, finish, machine, outputs, temporary_folder

from rondo_job import Life

MIB = 1 << 20
UNITS = {"cpu_s": "s", "written_mib": "MiB", "peak_mib": "MiB", "anonymous_mib": "MiB", "passed_mb": "MB"}
OWN_MIB = 8  # what nine interpreters have of their own, at most
RONDO = [sys.executable, "-m", "rondo_cli", "run", "-q"]
BURN = """
import hashlib, os, resource, threading, time
def burn(seconds):
    end, data = time.thread_time() + seconds, bytes(1 << 20)
    while time.thread_time() < end:
        hashlib.sha256(data)
"""
TOUCH = """
import mmap, os, sys, time
def touch(size):
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for at in range(0, size, 4096):
        memory[at] = 1
    return memory
"""


SAY = """
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
open("said", "w").write(str(sum(each.ru_utime + each.ru_stime for each in used)))
"""
THREADS = """
threads = [threading.Thread(target=burn, args=(SECONDS,)) for _ in range(4)]
for each in threads: each.start()
for each in threads: each.join()
"""
CHILDREN = """
for _ in range(COUNT):
    if not os.fork():
        burn(0.02)
        os._exit(0)
    os.wait()
"""
FORKS = """
memory = touch(SIZE)
for _ in range(8):
    if not os.fork():
        time.sleep(SECONDS)
        os._exit(0)
for _ in range(8):
    os.wait()
"""
SPIKE = """
time.sleep(1)
memory = touch(SIZE)
time.sleep(0.08)
memory.close()
time.sleep(1)
"""
DAEMON = """
reading, writing = os.pipe()
if not os.fork():
    os.setsid()
    if not os.fork():
        burn(SECONDS)
    os._exit(0)
os.wait()
os.close(writing)
os.read(reading, 1)
"""
WRITTEN = """
import os
with open("written", "wb") as file:
    for _ in range(COUNT):
        file.write(os.urandom(1 << 20))
    file.flush()
    os.fsync(file.fileno())
"""
CHILD_DIES = """
pid = os.fork()
if not pid:
    time.sleep(0.3)
    os.kill(os.getpid(), 9)
os.wait()
time.sleep(0.3)
"""


def programs(scale):
    """Give name -> (code, what is known of it: CPU in s, anonymous memory and files written in MiB, status).

    CPU of None is what the program itself says at its end, in the file `said`.
    """
    core, size, written, output = 10 * scale, round(500 * scale), round(1024 * scale), round(1000 * scale)
    spike, count = round(2048 * scale), str(round(500 * scale))
    forks = FORKS.replace("SIZE", str(size * MIB)).replace("SECONDS", str(3 * scale + 1))
    return {
        "core": (f"{BURN}\nburn({core})\n{SAY}", {"cpu_s": None}),
        "threads": (BURN + THREADS.replace("SECONDS", str(core / 4)) + SAY, {"cpu_s": None}),
        "children": (BURN + CHILDREN.replace("COUNT", count) + SAY, {"cpu_s": None}),
        "forks": (TOUCH + forks, {"anonymous_mib": size}),
        "spike": (TOUCH + SPIKE.replace("SIZE", str(spike * MIB)), {"peak_mib": spike}),
        "daemon": (BURN + DAEMON.replace("SECONDS", str(core / 2)), {"cpu_s": core / 2}),
        "written": (WRITTEN.replace("COUNT", str(written)), {"written_mib": written}),
        "files": (
            "import time\nfiles = [open('/dev/null') for _ in range(2000)]\ntime.sleep(1.5)",
            {"open_files": 2003},
        ),
        "exit 0": ("", {"status": 0}),
        "exit 3": ("import sys; sys.exit(3)", {"status": 3}),
        "segv": ("import os; os.kill(os.getpid(), 11)", {"status": 139}),
        "kill": ("import os; os.kill(os.getpid(), 9)", {"status": 137}),
        "child dies": (TOUCH + CHILD_DIES, {"child": 9, "status": 0}),
        "output": (f"import os\nfor _ in range({output}): os.write(1, b'x' * 1000000)", {"passed_mb": output}),
    }


def baseline():
    """What an interpreter that does nothing takes: it is in each program's figures."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(5):
        subprocess.run([sys.executable, "-c", BURN], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 5


def rondo(code, folder, method):
    """Record it, and read back what is on record."""
    lives = folder / "lives"
    done = subprocess.run(
        [*RONDO, "--store", lives, "--method", method, "--", sys.executable, "-c", code],
        cwd=folder,
        stdout=subprocess.PIPE,
        check=False,
    )
    life = next(Life.all(lives))
    end, found = life.end, {}
    with life.open() as reader:

        def most(name, fn="max"):
            return (
                max(
                    (float(each.values.max()) for each in reader.query(name, fn=fn) if len(each.values)),
                    default=float("nan"),
                )
                if reader.series(name)
                else None
            )

        found["anonymous_mib"] = (most("job_memory_anonymous_bytes") or 0) / MIB
        found["peak_mib"] = (end.memory_peak_bytes or most("job_memory_bytes") or 0) / MIB
        found["open_files"] = most("job_open_files")
        written = reader.query("job_io_bytes_total{direction=write}", fn="last")
        found["written_mib"] = float(written[0].values[-1]) / MIB if len(written[0].values) else 0.0
    found["child"] = next((child.status for child in life.children()[0][1:]), None)
    found |= {
        "cpu_s": end.cpu_s,
        "status": done.returncode,
        "passed_mb": life.output("stdout")[1] / 1e6,
        "method": life.start.method,
    }
    assert len(done.stdout) == life.output("stdout")[1]
    shutil.rmtree(lives)
    return found


def gnu_time(code, folder):
    """Its own words: CPU of who was waited for, the peak of the largest process, status."""
    command = ["/usr/bin/time", "-o", folder / "time", "-f", "%U %S %M", sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    user, system, peak = (folder / "time").read_text().splitlines()[-1].split()
    return {"cpu_s": float(user) + float(system), "peak_mib": int(peak) / 1024, "status": done.returncode}


def con_duct(code, folder):
    """The summary that it writes."""
    command = [
        shutil.which("duct"),
        "-p",
        f"{folder}/duct_",
        "--sample-interval",
        "0.5",
        "--report-interval",
        "1",
        "-q",
        sys.executable,
        "-c",
        code,
    ]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    info = next(folder.glob("duct_*info.json"), None)
    if info is None:  # of what failed at once it keeps nothing
        return {"status": done.returncode}
    said = json.loads(info.read_text())["execution_summary"]
    info.unlink()
    wall = float(said.get("wall_clock_time") or 0)
    cpu = said.get("average_pcpu")
    peak = said.get("peak_rss")
    return {"cpu_s": cpu and cpu / 100 * wall, "peak_mib": peak and peak / MIB, "status": done.returncode}


def psrecord(code, folder):
    """Its log: per cent and MB at each sample."""
    log = folder / "psrecord.log"
    log.unlink(missing_ok=True)
    (folder / "program.py").write_text(code)
    command = [
        shutil.which("psrecord"),
        f"{sys.executable} {folder}/program.py",
        "--log",
        log,
        "--interval",
        "0.5",
        "--include-children",
    ]
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    rows = [line.split() for line in log.read_text().splitlines()[1:]] if log.exists() else []
    cpu = sum(float(row[1]) / 100 * 0.5 for row in rows)
    return {"cpu_s": cpu, "peak_mib": max((float(row[2]) for row in rows), default=None)}


def judge(known, found, base_s):
    """Say whether what a tool found is what is known, within what is asked of rondo; None: it says nothing of it."""
    verdicts = []
    for key, wanted in known.items():
        got = found.get(key)
        if got is None:
            return None
        if key == "cpu_s":
            verdicts.append(abs(got - wanted - base_s) <= 0.02 * wanted + 0.05)
        elif key == "anonymous_mib":
            verdicts.append(abs(got - wanted) <= max(0.01 * wanted, 8) + OWN_MIB)
        elif key == "peak_mib":
            verdicts.append(0 <= got - wanted <= 64)
        elif key == "written_mib":
            verdicts.append(abs(got - wanted) <= 0.02 * wanted + 1)
        else:
            verdicts.append(got == wanted)
    return all(verdicts)


def main():
    """Run them, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", default=())
    outputs(parser)
    asked = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    tools = {
        "rondo": lambda code, folder: rondo(code, folder, "auto"),
        "rondo, tree": lambda code, folder: rondo(code, folder, "tree"),
    }
    tools |= {"GNU time": gnu_time} if Path("/usr/bin/time").exists() else {}
    tools |= {"con-duct": con_duct} if shutil.which("duct") else {}
    tools |= {"psrecord": psrecord} if shutil.which("psrecord") else {}
    report = Report("known", asked, machine("rondo-tsdb"), (__doc__ or "").partition("\n")[0], lines=False)
    idle_s, rows = baseline(), []
    print(f"an interpreter that does nothing: {idle_s:.3f} s CPU, which is taken off where a program cannot say")
    for name, (code, known) in programs(asked.scale).items():
        if asked.only and name not in asked.only:
            continue
        for tool, measure in tools.items():
            with temporary_folder() as folder:
                found, said = measure(code, folder), Path(folder, "said")
                wanted = {key: float(said.read_text()) if value is None else value for key, value in known.items()}
            base_s = 0.0 if None in known.values() else idle_s
            verdict = judge(wanted, found, base_s)
            cells = [f"{key} {_shown(found.get(key), key, base_s)} of {value:g}" for key, value in wanted.items()]
            word = {True: "right", False: "WRONG", None: "-"}[verdict]
            rows.append(
                {"program": name, "tool": tool, "known": wanted, "found": found, "verdict": word, "base_s": base_s}
            )
            print(f"{name:12} {tool:12} {word:6} {'; '.join(cells)}", flush=True)
    for row in rows:
        for key, wanted in row["known"].items():
            got = row["found"].get(key)
            if got is not None and math.isfinite(got):
                name = f"{row['program']}: {key.partition('_')[0]}, {row['tool']}"
                beside = ("what is known", [wanted]) if wanted else ()
                report.case(name, [got - row["base_s"] if key == "cpu_s" else got], UNITS.get(key, ""), *beside)
    for tool in tools:
        mine = [row["verdict"] for row in rows if row["tool"] == tool]
        report.case(f"{tool}: right", [mine.count("right")], f"of {len(mine)}")
    if asked.out or not asked.only:  # some of them are no whole measurement
        report.save()
    ours = [row for row in rows if row["tool"] == "rondo"]
    print(f"rondo: {sum(row['verdict'] == 'right' for row in ours)} of {len(ours)} right")
    return int(any(row["verdict"] != "right" for row in ours))


def _shown(value, key, base_s):
    if value is None:
        return "-"
    return f"{value - base_s:.2f}" if key == "cpu_s" else f"{value:.0f}"


if __name__ == "__main__":
    finish(main)
