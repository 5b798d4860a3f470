import functools
import hashlib
import http.server
import io
import threading

import numpy as np
import pytest
from PIL import Image

from transferlab.core.data.download import Downloads, SourceError
from transferlab.core.data.sources import UrlSource, acquire


@pytest.fixture
def server(tmp_path):
    """Serves the folder `site`, which has photographs of two kinds; its log is the list `asked`."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, _, request, *__):
            asked.append(request)

    (tmp_path / "site").mkdir()
    for number, name in enumerate(["a.png", "b c.png", "d"]):
        file = io.BytesIO()
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(file, "PNG")
        (tmp_path / "site" / name).write_bytes(file.getvalue())
    handler = functools.partial(Handler, directory=str(tmp_path / "site"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.asked = asked
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.01), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def table(tmp_path, *rows):
    (tmp_path / "photos.csv").write_text("\n".join(rows) + "\n")
    return UrlSource(file=str(tmp_path / "photos.csv"))


def test_images_come_to_folders_of_their_classes_once(server, tmp_path):
    sha256 = hashlib.sha256((tmp_path / "site" / "a.png").read_bytes()).hexdigest()
    rows = [f"{server.url}/a.png,ant,train,{sha256}", f"{server.url}/b%20c.png,bee,train,"]
    rows += [f"{server.url}/d,ant,test,", f"{server.url}/b%20c.png?size=large,bee,test,"]
    source = table(tmp_path, "url,class,split,sha256", *rows)
    found = acquire(source, Downloads(tmp_path / "downloads"))
    files = sorted(file.relative_to(found.path).as_posix() for file in found.path.rglob("*") if file.is_file())
    assert files == [
        "test/ant/000002-d.jpg", "test/bee/000003-b c.png", "train/ant/000000-a.png", "train/bee/000001-b c.png",
    ]  # fmt: skip
    assert (found.path / files[0]).read_bytes() == (tmp_path / "site" / "d").read_bytes()
    asked = len(server.asked)
    assert acquire(source, Downloads(tmp_path / "downloads")) == found
    assert len(server.asked) == asked


def test_what_cannot_be_had_is_listed_and_the_others_are_kept(server, tmp_path):
    rows = [f"{server.url}/a.png,ant", f"{server.url}/gone.png,bee", f"{server.url}/d,bee"]
    source = table(tmp_path, "url,class", *rows)
    with pytest.raises(SourceError, match=r"1 of the 3 images.*\n.*gone.png.*404"):
        acquire(source, Downloads(tmp_path / "downloads"))
    assert len(list((tmp_path / "downloads").rglob("*.*g"))) == 2


def test_another_content_than_the_table_says_is_refused(server, tmp_path):
    source = table(tmp_path, "url,class,sha256", f"{server.url}/a.png,ant,{'0' * 64}")
    with pytest.raises(SourceError, match="another content"):
        acquire(source, Downloads(tmp_path / "downloads"))


def test_a_local_file_is_taken_where_it_is(tmp_path, server):
    source = table(tmp_path, "url,class", f"{tmp_path / 'site' / 'a.png'},ant")
    found = acquire(source, Downloads(tmp_path / "downloads"))
    assert (found.path / "ant" / "000000-a.png").read_bytes() == (tmp_path / "site" / "a.png").read_bytes()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["url,clas", "x,y"], r"no column 'class'; did you mean 'clas'"),
        (["url;class", "x;y"], r"no column 'url'; its columns must be separated by commas"),
        (["url,class"], "has no rows"),
        (["url,class", "http://127.0.0.1/a.png,../up"], r"row 1: class '../up' cannot be the name of a folder"),
        (["url,class", "http://127.0.0.1/a.png,"], r"row 1: class '' cannot be the name of a folder"),
        (["url,class,split", "http://127.0.0.1/a.png,a,/etc"], r"row 1: split '/etc' cannot"),
        (["url,class", ",ant"], r"row 1: it has no url"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_of(tmp_path, rows, message):
    with pytest.raises(SourceError, match=message):
        acquire(table(tmp_path, *rows), Downloads(tmp_path / "downloads"))
    with pytest.raises(SourceError, match="does not exist"):
        acquire(UrlSource(file=str(tmp_path / "gone.csv")), Downloads(tmp_path))
