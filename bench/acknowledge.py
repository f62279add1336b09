"""A receiver that only acknowledges: reads each request whole and answers it; prints its port, ends with its stdin."""

import socketserver
import sys
import threading

# What a receiver of remote-write 2.0 says: at least as much was written as any request here holds.
WRITTEN = tuple(b"X-Prometheus-Remote-Write-%s-Written: 1000000" % each for each in (b"Samples", b"Histograms"))


class Acknowledge(socketserver.StreamRequestHandler):
    """Answers every POST of a connection, and counts the bytes of the bodies."""

    disable_nagle_algorithm = True
    bytes_taken = 0

    def handle(self) -> None:
        """Serve one connection."""
        while line := self.rfile.readline():
            size, path = 0, line.split()[1]
            while (header := self.rfile.readline().strip()) != b"":
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    size = int(value)
            self.rfile.read(size)
            if path == b"/bytes":
                body = str(Acknowledge.bytes_taken).encode()
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                continue
            Acknowledge.bytes_taken += size
            headers = (b"Content-Length: 0", *(WRITTEN if path == b"/2" else ()))
            self.wfile.write(b"\r\n".join((b"HTTP/1.1 200 OK", *headers, b"", b"")))


class Server(socketserver.ThreadingTCPServer):
    """Threads of which none is waited for."""

    daemon_threads = allow_reuse_address = True


def main() -> None:
    """Serve until standard input ends."""
    with Server(("127.0.0.1", 0), Acknowledge) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
