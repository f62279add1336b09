"""prometheus_client over workers that retire: its values in rondo's stores, and in its own files beside it.

Four workers live at any time; each counts 50 requests, as under gunicorn's --max-requests 50, and another takes its
place. Disk and a scrape's CPU time are looked at along the way; whatever the last scrape says is compared with what
was counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from time import process_time

from harness import Report, finish, machine, options, temporary_folder

WORKERS, REQUESTS = 4, 50
LOOKS = 10  # along the way


def program(kind: str, directory: Path, recycles: int) -> None:
    """Run the life of a server, and print what was seen: a line of JSON for each look."""
    if kind == "rondo":
        from rondo_bridges.prometheus_multiprocess import MultiProcessCollector, install, mark_process_dead

        install(directory)
    else:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    requests = Counter("http_requests", "Requests.", ["route", "code"])
    took = Histogram("http_request_seconds", "Seconds.", ["route"])
    alive = Gauge("workers", "Workers.", multiprocess_mode="livesum")
    registry = CollectorRegistry()
    collector = MultiProcessCollector(registry)

    def work(told: int) -> None:
        alive.set(1)
        for number in range(REQUESTS):
            route = ("/", "/items", "/users")[number % 3]
            requests.labels(route, "200").inc()
            took.labels(route).observe(number / 100)
        os.write(told, b".")

    def started() -> tuple[int, int]:
        (told, tell), (asked, ask) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ask)
            work(tell)
            os.read(asked, 1)  # it lives until its place is taken
            os._exit(0)
        os.close(tell)
        os.close(asked)
        os.read(told, 1)
        os.close(told)
        return pid, ask

    def end(pid: int, ask: int) -> None:
        os.write(ask, b".")  # later workers have its pipe open too
        os.close(ask)
        os.waitpid(pid, 0)

    def counted() -> float:
        return sum(
            each.value
            for metric in collector.collect()
            for each in metric.samples
            if each.name == "http_requests_total"
        )

    living = [started() for _ in range(WORKERS)]
    every = max(1, recycles // LOOKS)
    begin, scrapes = process_time(), 0.0
    for number in range(recycles + 1):
        if number:
            pid, ask = living.pop(0)
            end(pid, ask)
            mark_process_dead(pid)
            living.append(started())
        if number % every == 0:
            start = process_time()
            found = counted()
            scrape_s = process_time() - start
            scrapes += scrape_s
            files = [path.stat() for path in directory.rglob("*") if path.is_file()]
            look = {
                "recycles": number,
                "counted": found,
                "sent": (number + WORKERS) * REQUESTS,
                "scrape_ms": scrape_s * 1e3,
                "apparent_bytes": sum(each.st_size for each in files),
                "disk_bytes": sum(each.st_blocks * 512 for each in files),
                "files": len(files),
            }
            print(json.dumps(look), flush=True)
    times = os.times()
    spent_s = process_time() - begin - scrapes + times.children_user + times.children_system
    print(json.dumps({"recycle_ms": spent_s * 1e3 / max(1, recycles)}))
    for pid, ask in living:
        end(pid, ask)


def life(kind: str, recycles: int) -> tuple[list[dict[str, float]], float]:
    """Run it in a process of its own, in a directory that is removed afterwards."""
    with temporary_folder() as directory:
        command = [sys.executable, "-W", "ignore", __file__, "--life", kind, str(directory), str(recycles)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    *looks, last = map(json.loads, said.splitlines())
    return looks, last["recycle_ms"]


def main() -> int:
    """Run both and print the cases; the status is 1 where anything was lost, fell or grew."""
    asked = options(
        __doc__ or "",
        recycles={"type": int, "default": 10_000, "help": "workers that retire, with rondo's stores"},
        peer_recycles={"type": int, "default": 500, "help": "and with prometheus_client's files, whose scrapes grow"},
    )
    looks, recycle_ms = life("rondo", asked.recycles)
    peers, peer_recycle_ms = life("own", asked.peer_recycles)
    report = Report("multiprocess", asked, machine("rondo-tsdb", "prometheus-client"), __doc__ or "")
    for at, peer_at in ((1, 1), (-1, -1)):
        look, peer = looks[at], peers[peer_at]
        name = f"{look['recycles']:.0f} retired"
        beside = f"prometheus_client, {peer['recycles']:.0f} retired"
        report.case(f"disk, {name}", [look["disk_bytes"] / 1024], "KiB", beside, [peer["disk_bytes"] / 1024])
        report.case(
            f"files' size, {name}", [look["apparent_bytes"] / 1024], "KiB", beside, [peer["apparent_bytes"] / 1024]
        )
        report.case(f"a scrape, {name}", [look["scrape_ms"]], "ms", beside, [peer["scrape_ms"]])
    report.case("a worker's life", [recycle_ms], "ms", "prometheus_client", [peer_recycle_ms])
    report.save()
    exact = all(look["counted"] == look["sent"] for look in looks)
    falls = any(before["counted"] > after["counted"] for before, after in pairwise(looks))
    constant = len({(look["disk_bytes"], look["apparent_bytes"], look["files"]) for look in looks[1:]}) == 1
    print(f"all counted: {exact}; a total fell: {falls}; disk the same to the byte: {constant}", file=sys.stderr)
    return 0 if exact and not falls and constant else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--life"]:
        program(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        finish(main)
