"""The page that `kedro transferlab try` serves, asked over a real socket."""

import io
import itertools
import json
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from tiny import STATISTICS, machine, photographs

from transferlab.core.calibration.reference import Calibrated, Reference, Training
from transferlab.core.inference.predict import predict_files, table
from transferlab.core.models import factory
from transferlab.core.models.backbones.model import Model
from transferlab.core.transforms.input import Input

app = pytest.importorskip("transferlab.serving.app", reason="the extra `try` is not installed")
PORT_TAKEN = r"^--port=\d+ cannot be had \(.*in use\): name another, or leave it out for a free one$"
CLASSES = ["<b>red</b>", "blue"]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
SECONDS = 120  # that a browser may take on a busy machine


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number, image_HWC in enumerate(photographs(8)[0]):
        Image.fromarray(image_HWC).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trials():
    config = Input(size=32, resize=36)
    return [factory.initial(Model(name="timm/test_resnet"), config, CLASSES, STATISTICS, seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def references(images, trials):
    files = sorted(images.iterdir())
    found = []
    for trial in trials:
        known = list(predict_files([trial], files, machine(), workers=0))
        p_NK, features_NF = np.stack([k.probabilities for k in known]), np.stack([k.features[0][0] for k in known])
        training = Training((features_NF,), np.arange(8) % 2, tuple(file.name for file in files))
        found.append(Reference.of("these", p_NK, np.arange(8) % 2, [features_NF], training))
    return found


@pytest.fixture(scope="module")
def address(images, trials, references):
    from transferlab.serving.answerer import Answerer

    answerer = Answerer(trials, machine(), Calibrated.of(references, 0.5), references)
    serving = app.server(app.application(answerer, ["Model: <i>two</i>"], "Shapes", images))
    socket = app.listening(0)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [socket]})
    thread.start()
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    serving.should_exit = True
    thread.join()
    socket.close()


def ask(address, file: Path, **headers):
    return requests.post(
        f"{address}/predict", params={"name": file.name}, data=file.read_bytes(), headers=headers, timeout=20
    )


def test_a_photograph_is_answered_as_predict_does(address, images, trials, references):
    file = images / "3.png"
    calibrated = Calibrated.of(references, 0.5)
    expected = table(predict_files(trials, [file], machine(), workers=0), CLASSES, calibrated=calibrated).iloc[0]
    for _ in range(2):
        reply = ask(address, file).json()
        assert [tuple(pair) for pair in reply["classes"]] == sorted(
            ((name, expected[f"p_{name}"]) for name in CLASSES), key=lambda pair: -pair[1]
        )
        assert " | ".join(reply["prediction_set"]) == expected["prediction_set"]
        assert reply["unfamiliar"] == (expected["unfamiliar"] == "yes")
        assert reply["nearest"][0] == {"number": 3, "path": "3.png", "label": "blue"}, "it is a training image itself"
        assert len(reply["nearest"]) == 6
    thumbnail = requests.get(f"{address}/training/3", timeout=20)
    assert min(Image.open(io.BytesIO(thumbnail.content)).size) == 40, "never enlarged"
    assert requests.get(f"{address}/training/8", timeout=20).status_code == 404


def test_a_file_that_is_no_image_gets_a_reason(address, tmp_path):
    (tmp_path / "torn.png").write_text("torn")
    assert ask(address, tmp_path / "torn.png").json()["reason"]


def test_a_name_that_no_file_can_have_is_answered(address, images):
    content = (images / "3.png").read_bytes()
    reply = requests.post(f"{address}/predict", params={"name": "a.p\0ng"}, data=content, timeout=20)
    assert reply.json()["classes"]


def test_the_page_asks_nobody_else_and_shows_names_as_text(address):
    page = requests.get(address, timeout=20)
    assert "Model: &lt;i&gt;two&lt;/i&gt;" in page.text
    assert "http" not in page.text.replace("http-equiv", "")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "innerHTML" not in requests.get(f"{address}/try.js", timeout=20).text


def test_other_pages_and_other_names_of_this_machine_are_refused(address, images):
    assert ask(address, images / "3.png", Origin="http://elsewhere.example").status_code == 403
    assert ask(address, images / "3.png", Origin=address).status_code == 200
    assert requests.get(address, headers={"Host": "rebound.example"}, timeout=20).status_code == 400


@pytest.fixture
def browser(address, tmp_path):
    """The page in a real browser: sends it commands of the DevTools protocol."""
    websockets = pytest.importorskip("websockets.sync.client", reason="the group `viz` is not installed")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    profile = tmp_path / "profile"
    command = [BROWSER, *options, "--remote-debugging-port=0", f"--user-data-dir={profile}", address]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    port = until(
        lambda: (profile / "DevToolsActivePort").is_file() and (profile / "DevToolsActivePort").read_text()
    ).split()[0]
    tabs = until(lambda: requests.get(f"http://127.0.0.1:{port}/json", timeout=SECONDS).json())
    tab = next(one for one in tabs if one["type"] == "page")
    with websockets.connect(tab["webSocketDebuggerUrl"], max_size=None, open_timeout=SECONDS) as socket:
        numbers = itertools.count(1)

        def send(method, **parameters):
            number = next(numbers)
            socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
            while (reply := json.loads(socket.recv(timeout=SECONDS))).get("id") != number:
                pass
            return reply["result"]

        yield send
    process.terminate()
    process.wait()


def until(look):
    """Look again until there is something."""
    end = time.monotonic() + SECONDS
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on PATH")
def test_photographs_chosen_in_a_browser_are_answered(browser, images, tmp_path):
    (tmp_path / "torn.png").write_text("torn")
    ready = "document.readyState == 'complete' && document.querySelector('#chooser')"
    chooser = until(lambda: browser("Runtime.evaluate", expression=ready)["result"].get("objectId"))
    browser("DOM.setFileInputFiles", objectId=chooser, files=[str(images / "3.png"), str(tmp_path / "torn.png")])

    def answers():
        script = "document.querySelectorAll('article h2').length == 2 && document.querySelector('#answers').innerText"
        return browser("Runtime.evaluate", expression=script)["result"].get("value")

    text = until(answers)
    assert "It cannot be used\n\ntorn.png\n\n" in text
    assert "<b>red</b>" in text
    for shown in ("3.png", "May be: ", "Nearest training photographs:"):
        assert shown in text


def test_a_port_that_is_taken_is_told_with_its_option_and_the_cure():
    with app.listening(0) as taken, pytest.raises(app.PortError, match=PORT_TAKEN):
        app.listening(taken.getsockname()[1])
