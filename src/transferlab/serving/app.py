"""The local page: a web application of four addresses.

It answers requests that name this machine by its loopback address, from its own page only: another site that is open
in the browser can neither read answers nor make the machine compute (DNS rebinding, cross-site requests).
"""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path

import uvicorn
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from transferlab.core.data.decoding.batch import Decoded, decode_one
from transferlab.core.data.decoding.decode import Rules
from transferlab.core.data.store import Resize
from transferlab.core.errors import MendableError
from transferlab.serving.answerer import Answerer

HOST = "127.0.0.1"
MOST_BYTES = 100_000_000  # of a photograph
THUMBNAIL_SIZE = 160  # px of a short side
_POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class PortError(MendableError):
    """A port that the page cannot have."""


def application(answerer: Answerer, sentences: list[str], title: str, images: Path | None) -> Starlette:
    """Return the application.

    Args:
        answerer: answers for photographs.
        sentences: which model answers, and what it promises.
        title: of the experiment.
        images: the folder of the training images; None shows none.
    """
    templates = Environment(
        loader=PackageLoader("transferlab.serving"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )

    async def page(_: Request) -> Response:
        text = templates.get_template("try.html.j2").render(title=title, sentences=sentences)
        return HTMLResponse(text, headers=_HEADERS)

    async def script(_: Request) -> Response:
        text = templates.get_template("try.js").render()
        return Response(text, media_type="text/javascript", headers=_HEADERS)

    async def predict(request: Request) -> Response:
        origin = request.headers.get("origin")
        if origin is not None and origin != str(request.base_url).rstrip("/"):
            return JSONResponse({"reason": "asked by another page"}, 403, headers=_HEADERS)
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > MOST_BYTES:
                return JSONResponse({"reason": "The file is too large."}, 413, headers=_HEADERS)
        name = request.query_params.get("name", "")
        reply = await run_in_threadpool(answerer.answer, name, bytes(content))
        return Response(json.dumps(reply.to_json()), media_type="application/json", headers=_HEADERS)

    async def training(request: Request) -> Response:
        number = request.path_params["number"]
        paths = answerer.references[0].training.paths if answerer.references else ()
        if images is None or number >= len(paths):
            return Response(status_code=404, headers=_HEADERS)
        return await run_in_threadpool(_thumbnail, images / paths[number], Rules(levels=answerer.ensemble.levels))

    return Starlette(
        routes=[
            Route("/", page),
            Route("/try.js", script),
            Route("/predict", predict, methods=["POST"]),
            Route("/training/{number:int}", training),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
    )


def _thumbnail(path: Path, rules: Rules) -> Response:
    outcome = decode_one(path, [Resize(size=THUMBNAIL_SIZE)], rules)
    if not isinstance(outcome, Decoded):
        return Response(status_code=404, headers=_HEADERS)
    file = io.BytesIO()
    Image.fromarray(outcome.images[0]).save(file, format="JPEG", quality=85)
    return Response(file.getvalue(), media_type="image/jpeg", headers=_HEADERS)


def listening(port: int) -> socket.socket:
    """Return a socket on the loopback address; port 0 is a free one.

    Raises:
        PortError: the port is taken, or not for everybody.
    """
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
        found.listen()  # whoever asks before the server runs waits
    except OSError as error:
        found.close()
        raise PortError(
            f"--port={port} cannot be had ({error.strerror}): name another, or leave it out for a free one"
        ) from error
    return found


def server(app: Starlette) -> uvicorn.Server:
    """Return a server that says nothing by itself; `run(sockets=[...])` blocks until it is stopped."""
    return uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))
