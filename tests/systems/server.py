"""Servers on the loopback, which guests reach at 10.0.2.2: a directory, and a proxy for apt that keeps what it fetched."""

import functools
import hashlib
import http.server
import os
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

from frame import cache_directory

GUESTS_VIEW = "10.0.2.2"


class Directory(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Says nothing."""


class Proxy(http.server.BaseHTTPRequestHandler):
    """Packages never change under their names: they are fetched once. All else is asked for anew."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Says nothing."""

    def do_GET(self):
        if not self.path.startswith("http://"):
            self.send_error(400, "a proxy wants a whole URL")
            return
        kept = cache_directory() / "mirror" / hashlib.sha256(self.path.encode()).hexdigest()[:24]
        if kept.exists() and self.path.endswith(".deb"):
            self.answer(kept)
            return
        kept.parent.mkdir(exist_ok=True)
        try:
            with urllib.request.urlopen(self.path, timeout=60) as source, \
                    tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as target:
                shutil.copyfileobj(source, target)
            os.rename(target.name, kept)
            self.answer(kept)
        except urllib.error.HTTPError as error:
            self.send_error(error.code)
        except OSError as error:
            if kept.exists():  # an older one is better than none
                self.answer(kept)
            else:
                self.send_error(502, str(error))

    def answer(self, file: Path):
        with open(file, "rb") as source:
            self.send_response(200)
            self.send_header("Content-Length", str(os.fstat(source.fileno()).st_size))
            self.end_headers()
            shutil.copyfileobj(source, self.wfile)


class Server:
    """One of them at a port of its own: `with Server.of(directory) as url`, `with Server(Proxy) as url`."""

    def __init__(self, handler):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    @classmethod
    def of(cls, directory: Path):
        return cls(functools.partial(Directory, directory=str(directory)))

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://{GUESTS_VIEW}:{self.server.server_address[1]}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
