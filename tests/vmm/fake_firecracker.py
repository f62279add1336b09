"""Stands in for Firecracker, which needs a KVM of its own: its API at a socket, and a flush for each that is asked for.

    python fake_firecracker.py SOCKET METRICS [field=value ...]

It answers as Firecracker 1.7 does, calls itself firecracker and has a thread fc_vcpu 0. It ends by SIGTERM, or after
FAKE_FLUSHES flushes, its last flush with the fields of its arguments, such as signals.sigsegv=1. Each flush has what
FAKE_FLUSH holds as JSON; FAKE_MEMORY is a file that it maps as its guest's memory. What it is not: a machine.
"""

import json
import mmap
import os
import signal
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

SOCKET, METRICS, *LAST = sys.argv[1:]
STATE = os.environ.get("FAKE_STATE", "Running")
MOST = int(os.environ.get("FAKE_FLUSHES", "0"))
ALWAYS = json.loads(os.environ.get("FAKE_FLUSH", "{}"))
over = threading.Event()
asked_for = []


def write_flush(**groups):
    whole = {
        "utc_timestamp_ms": time.time_ns() // 1_000_000,
        "vcpu": {"exit_io_in": 10},
        "block_rootfs": {"read_count": 1},
    }
    with Path(METRICS).open("ab", buffering=0) as stream:
        stream.write(json.dumps({**whole, **ALWAYS, **groups}).encode() + b"\n")


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, answer=None):
        body = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/":
            own = {"id": Path(SOCKET).stem, "state": STATE, "vmm_version": "1.7.0", "app_name": "Firecracker"}
            self.reply(200, own)
        elif self.path == "/machine-config":
            self.reply(200, {"vcpu_count": 2, "mem_size_mib": 128, "smt": False, "track_dirty_pages": False})
        else:
            self.reply(404, {"fault_message": "no such page"})

    def do_PUT(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked != {"action_type": "FlushMetrics"} or STATE == "Not started":
            self.reply(400, {"fault_message": "not supported before starting the microVM"})
            return
        write_flush()
        self.send_response(204)
        self.end_headers()
        self.wfile.flush()
        asked_for.append(None)
        if len(asked_for) == MOST:
            over.set()

    def log_message(self, *_):
        pass

    def address_string(self):
        return ""


def vcpu():
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("fc_vcpu 0")
    over.wait()


Path("/proc/self/comm").write_text("firecracker")
if memory := os.environ.get("FAKE_MEMORY"):
    with Path(memory).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
signal.signal(signal.SIGTERM, lambda *_: over.set())
threading.Thread(target=vcpu).start()
server = socketserver.ThreadingUnixStreamServer(SOCKET, Api)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
print("listening", flush=True)
over.wait()
last = {}
for each in LAST:
    where, _, value = each.partition("=")
    group, _, field = where.partition(".")
    last.setdefault(group, {})[field] = int(value)
write_flush(**last)
