"""A proxy in front of a receiver that fails, request by request, as its script says."""

import contextlib
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PASS = ("pass", None)


class FaultyProxy:
    """Forwards what it is sent, but for the requests that its script names.

    Args:
        port: the receiver's.
        script: one (fault, call) for each request; a call is made first. After the last every request passes. Faults:
            pass; refuse, no connection; "500", "429", with Retry-After: 1; hang, until the sender gives up; half, read
            half of the body and close; unanswered, forward, and close instead of answering.
    Attributes: `served`: the faults that were met, in their order.
    """

    def __init__(self, port, script):
        self._port, self._script, self.served = port, list(script), []
        self._lock, self._over = threading.Lock(), threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                proxy.handle(self)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                """Senders that are killed leave connections behind."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/api/v1/write"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self):
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def finished(self):
        """Say whether every fault of the script was met."""
        return not self._script

    def handle(self, request):
        size = int(request.headers["Content-Length"])
        with self._lock:
            fault, call = self._script.pop(0) if self._script else PASS
            self.served.append(fault)
        if fault == "half":
            request.rfile.read(size // 2)
            return self._hang_up(request)
        body = request.rfile.read(size)
        if call is not None and fault != "unanswered":
            call()
        if fault == "refuse":
            return self._hang_up(request)
        if fault == "hang":
            with contextlib.suppress(OSError):
                request.connection.recv(1)  # nothing comes until the sender closes
            return self._hang_up(request)
        if fault in ("500", "429"):
            return self._answer(request, int(fault), {"Retry-After": "1"} if fault == "429" else {}, b"scripted")
        answer = self._forward(request, body)
        if fault == "unanswered":
            if call is not None:
                call()
            return self._hang_up(request)
        if answer is None:
            return self._hang_up(request)
        return self._answer(request, *answer)

    def _forward(self, request, body):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
            connection.request("POST", request.path, body, headers)
            response = connection.getresponse()
            return response.status, {}, response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _answer(self, request, status, headers, body):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        if status != 204:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if status != 204:
            request.wfile.write(body)

    @staticmethod
    def _hang_up(request):
        request.close_connection = True
