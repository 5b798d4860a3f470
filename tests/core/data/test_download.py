import hashlib
import http.server
import threading
import time
from functools import partial

import pytest

from transferlab.core.data import download
from transferlab.core.data.download import Downloads, SourceError

CONTENT = bytes(range(256)) * 4000
PIECE = 1 << 17
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT as /photos.zip, and /moved.zip leads there.

    `breaks` answers end after a third of what they promise, `stalls` answers stop there and keep the connection.
    """

    def __init__(self, knows_ranges=True, breaks=0, errors=0, stalls=0, pause=0.0, content=CONTENT) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.knows_ranges, self.breaks, self.errors, self.content = knows_ranges, breaks, errors, content
        self.stalls, self.pause = stalls, pause
        self.over = threading.Event()
        self.starts: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        if self.path == "/moved.zip":
            self.send_response(302)
            self.send_header("Location", "/photos.zip")
            return self.end_headers()
        if self.path != "/photos.zip":
            return self.send_error(404)
        if self.server.errors:
            self.server.errors -= 1
            return self.send_error(503)
        start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if self.server.knows_ranges else 0
        self.server.starts.append(start)
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: len(body) // 3]
        if self.server.stalls:
            self.server.stalls -= 1
            self.wfile.write(body[: len(body) // 3])
            return self.server.over.wait()
        for start in range(0, len(body), PIECE):
            self.wfile.write(body[start : start + PIECE])
            time.sleep(self.server.pause)
        return None

    def log_message(self, *_):
        pass


def fetch(url, hashes, filename, folder, mirror=()):
    return Downloads(folder, mirror).fetch(url, hashes, filename)


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.delenv(download.MIRROR_VARIABLE, raising=False)
    servers = []

    def start(**options):
        server = Server(**options)
        threading.Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.over.set()
        server.shutdown()
        server.server_close()


def test_a_file_is_downloaded_once(serve, tmp_path):
    server = serve()
    for _ in range(2):
        path = fetch(f"{server.url}/photos.zip", [SHA256], "photos.zip", tmp_path)
        assert path == tmp_path / "photos.zip"
        assert path.read_bytes() == CONTENT
    assert server.starts == [0]


def test_a_broken_download_goes_on_where_it_broke(serve, tmp_path):
    server = serve(breaks=2)
    assert fetch(f"{server.url}/photos.zip", [SHA256], "photos.zip", tmp_path).read_bytes() == CONTENT
    assert len(server.starts) == 3
    assert 0 < server.starts[1] < server.starts[2]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_progress_is_reported_in_bytes(serve, tmp_path, knows_ranges):
    told = []
    downloads = Downloads(tmp_path, report=lambda done, total: told.append((done, total)))
    downloads.fetch(f"{serve(breaks=1, knows_ranges=knows_ranges).url}/photos.zip", [SHA256], "photos.zip")
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert {total for _, total in told} == {len(CONTENT)}
    done = [done for done, _ in told]
    assert (done == sorted(done)) is knows_ranges  # what a server without ranges sends again is counted again


def test_a_slow_download_is_waited_for(serve, tmp_path):
    server = serve(pause=0.02)
    assert fetch(f"{server.url}/photos.zip", [SHA256], "photos.zip", tmp_path).read_bytes() == CONTENT
    assert server.starts == [0]


def test_a_server_that_falls_silent_is_asked_for_the_rest(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.3)
    server = serve(stalls=1)
    assert fetch(f"{server.url}/photos.zip", [SHA256], "photos.zip", tmp_path).read_bytes() == CONTENT
    assert len(server.starts) == 2
    assert server.starts[1] > 0


def test_a_redirect_is_followed(serve, tmp_path):
    server = serve()
    assert fetch(f"{server.url}/moved.zip", [SHA256], "photos.zip", tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_again(serve, tmp_path):
    server = serve(breaks=2, knows_ranges=False)
    assert fetch(f"{server.url}/photos.zip", [SHA256], "photos.zip", tmp_path).read_bytes() == CONTENT


def test_a_server_that_is_busy_is_asked_again(serve, tmp_path):
    server = serve(errors=2)
    assert fetch(f"{server.url}/photos.zip", [SHA256], "photos.zip", tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        ({}, "missing.zip", "404"),
        ({"errors": 99}, "photos.zip", "4 attempts failed"),
        ({"content": b"<html>please log in</html>"}, "photos.zip", "another content"),
    ],
)
def test_what_cannot_be_had_leaves_nothing_and_says_what_to_do(serve, tmp_path, options, name, message):
    url = f"{serve(**options).url}/{name}"
    with pytest.raises(SourceError, match=message) as caught:
        fetch(url, [SHA256], name, tmp_path, [str(tmp_path / "mirror")])
    for part in (url, str(tmp_path / name), "dataset.mirror", str(tmp_path / "mirror")):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_offline_machine_gets_one_clear_error(serve, tmp_path):
    with pytest.raises(SourceError, match="put it at"):
        fetch("http://127.0.0.1:9/photos.zip", [SHA256], "photos.zip", tmp_path)


def test_a_mirror_comes_first_whether_folder_or_url(serve, tmp_path, monkeypatch):
    server = serve()
    never = "http://127.0.0.1:9/photos.zip"
    assert fetch(never, [SHA256], "photos.zip", tmp_path / "a", [server.url + "/"]).read_bytes() == CONTENT
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "photos.zip").write_bytes(CONTENT)
    expected = tmp_path / "mirror" / "photos.zip"
    assert fetch(never, [SHA256], "photos.zip", tmp_path / "b", [str(tmp_path / "mirror")]) == expected
    assert fetch(expected.as_uri(), [SHA256], "photos.zip", tmp_path / "b") == expected
    assert fetch(str(expected), [SHA256], "photos.zip", tmp_path / "b") == expected
    monkeypatch.setenv(download.MIRROR_VARIABLE, download.os.pathsep.join([str(tmp_path / "gone"), server.url]))
    assert fetch(never, [SHA256], "photos.zip", tmp_path / "c") == tmp_path / "c" / "photos.zip"


def test_a_mirror_with_another_content_is_passed_over_with_a_warning(serve, tmp_path, caplog):
    (tmp_path / "photos.zip").write_bytes(b"something else")
    path = fetch(f"{serve().url}/photos.zip", [SHA256], "photos.zip", tmp_path / "downloads", [str(tmp_path)])
    assert path.read_bytes() == CONTENT
    assert "another content" in caplog.text


def test_a_wrong_file_among_the_downloads_is_not_touched(serve, tmp_path):
    (tmp_path / "photos.zip").write_bytes(b"by hand")
    with pytest.raises(SourceError, match=r"Delete .*photos\.zip"):
        fetch(f"{serve().url}/photos.zip", [SHA256], "photos.zip", tmp_path)
    assert (tmp_path / "photos.zip").read_bytes() == b"by hand"
