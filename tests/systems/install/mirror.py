# SPDX-License-Identifier: MIT
"""An HTTP server on the host's loopback: a caching proxy of one Debian mirror, and a few files.

The guest sees it as 10.0.2.2. What cannot change in the archive (pool/, by-hash/, the installer's
dated images) is kept in the cache and given from there the next time; the rest (Release files) is
asked for each time. Requests for other hosts are refused: this is no open proxy.
"""

import contextlib
import http.server
import os
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request

CHUNK = 1 << 16
UPSTREAM_LIMIT = 60  # seconds without a byte


def is_fixed(path):
    return "/pool/" in path or "/by-hash/" in path


class Counters:
    def __init__(self):
        self.lock = threading.Lock()
        self.requests = self.hits = self.sent = 0

    def count(self, hit, sent):
        with self.lock:
            self.requests += 1
            self.hits += hit
            self.sent += sent


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(with_body=True)

    def do_HEAD(self):
        self._answer(with_body=False)

    def _answer(self, with_body):
        url = urllib.parse.urlsplit(self.path)
        own = url.netloc in ("", self.server.name) and self.server.files.get(url.path)
        if own:
            self._send_bytes(own, with_body)
        elif url.netloc == self.server.upstream:
            self._forward(url, with_body)
        else:
            self.send_error(403 if url.netloc else 404)

    def _send_bytes(self, content, with_body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)
        self.server.counters.count(1, len(content))

    def _forward(self, url, with_body):
        kept = os.path.join(self.server.cache, url.netloc, os.path.normpath(url.path).lstrip("/"))
        if is_fixed(url.path) and os.path.isfile(kept):
            with open(kept, "rb") as file:
                self._send_stream(file, os.path.getsize(kept), with_body, None)
                self.server.counters.count(1, os.path.getsize(kept))
            return
        try:
            with urllib.request.urlopen(self.path, timeout=UPSTREAM_LIMIT) as answer:
                length = int(answer.headers["Content-Length"])
                self._send_stream(answer, length, with_body,
                                  kept if is_fixed(url.path) else None)
                self.server.counters.count(0, length)
        except urllib.error.HTTPError as error:
            self.send_error(error.code)
        except (OSError, TypeError, ValueError) as error:
            self.send_error(502, explain=str(error))

    def _send_stream(self, source, length, with_body, keep):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if not with_body:
            return
        with contextlib.ExitStack() as stack:
            copy = None
            if keep:
                os.makedirs(os.path.dirname(keep), exist_ok=True)
                copy = stack.enter_context(tempfile.NamedTemporaryFile(
                    dir=os.path.dirname(keep), prefix=".partial-", delete=False))
            left = length
            while left and (data := source.read(min(CHUNK, left))):
                self.wfile.write(data)
                left -= len(data)
                if copy:
                    copy.write(data)
            if left:
                self.close_connection = True
        if copy and not left:
            os.replace(copy.name, keep)
        elif copy:
            os.remove(copy.name)

    def log_message(self, *_):
        pass


class Mirror(http.server.ThreadingHTTPServer):
    """UPSTREAM is a host name, CACHE a folder; files: what is served as PATH besides, also to those
    who ask for it by way of the proxy, which is itself as GUESTS_NAME."""

    daemon_threads = True

    def __init__(self, upstream, cache, guests_name=""):
        super().__init__(("127.0.0.1", 0), Handler)
        self.name = f"{guests_name}:{self.server_port}"
        self.upstream = upstream
        self.cache = cache
        self.files = {}
        self.counters = Counters()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """A guest that hangs up is its own affair."""

    def can_reach(self, path):
        """Why PATH cannot be had from upstream, or None."""
        try:
            with urllib.request.urlopen(f"http://{self.upstream}{path}", timeout=20):
                return None
        except OSError as error:
            return str(error)
