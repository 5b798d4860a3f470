"""Downloads from a server that breaks off, is busy, has another file or none."""

from __future__ import annotations

import hashlib
import http.server
import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.faults.row import NOTHING, Row, crashed, is_told, row
from transferlab.core.data import download
from transferlab.core.data.download import Downloads

CONTENT = np.random.default_rng(0).bytes(2_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = "photographs.zip"


class Server(http.server.ThreadingHTTPServer):
    """Sends a file; breaks off at some places first, or answers with other codes first, or sends another file."""

    def __init__(self, breaks: tuple[int, ...] = (), codes: tuple[int, ...] = (), content: bytes = CONTENT) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks, self.codes, self.content = list(breaks), list(codes), content


class Handler(http.server.BaseHTTPRequestHandler):
    """Knows ranges, so that a download can go on."""

    server: Server

    def do_GET(self) -> None:
        """Answer, not always well."""
        if self.server.codes:
            return self.send_error(self.server.codes.pop(0))
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.server.content) - start))
        self.end_headers()
        end = self.server.breaks.pop(0) if self.server.breaks else len(self.server.content)
        self.wfile.write(self.server.content[start : max(start, end)])
        return None

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextmanager
def serving(server: Server) -> Iterator[str]:
    """Serve a file, and yield its address."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{FILE}"
    finally:
        server.shutdown()
        server.server_close()


def rows(rng: np.random.Generator) -> Iterator[Row]:
    """Each of these with a server of its own."""
    places = [tuple(sorted(rng.integers(1, len(CONTENT), 3))) for _ in range(10)]
    yield row("download broken off three times", [_fetched(Server(breaks=each)) for each in places])
    yield row("server busy at first (503, 429)", [_fetched(Server(codes=codes)) for codes in ((503, 503), (429,))])
    yield row("server that stays busy", [_fetched(Server(codes=(503,) * 9))])
    yield row("file that is gone (404)", [_fetched(Server(codes=(404,)))])
    others = [rng.bytes(1_000), b"<html>please log in</html>", bytes([CONTENT[0] ^ 1]) + CONTENT[1:]]
    yield row(
        "another file under the same address, one bit apart or all of it", [_fetched(Server(content=c)) for c in others]
    )
    yield row("no internet", [_fetched(None)])


def _fetched(server: Server | None) -> tuple[str, str]:
    download.FIRST_WAIT_SECONDS = 0.01
    logging.getLogger("transferlab.core.data.download").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name, serving(server or Server()) as url:
        try:
            file = Downloads(Path(name)).fetch(url if server else f"http://127.0.0.1:9/{FILE}", [SHA256], FILE)
        except Exception as error:
            if not is_told(error):
                return crashed(error)
            first = str(error).splitlines()[1].split(": ", 1)[1].partition(": its sha256")[0].partition(" for url")[0]
            kept = list(Path(name).iterdir())
            return (
                f"refused: “{FILE} cannot be had. … {first}”, and what to do",
                NOTHING if not kept else f"{kept} left",
            )
        return "whole and verified", NOTHING if file.read_bytes() == CONTENT else "the content"
