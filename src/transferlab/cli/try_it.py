"""`kedro transferlab try`. What answers is imported by the command: it loads torch, which --help need not."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.project import settings
from kedro.framework.startup import ProjectMetadata

from transferlab.console.errors import UserError, explained
from transferlab.console.terminal import say

_PACKAGES = ("starlette", "uvicorn")


@click.command("try")
@click.argument("model", default="recommended")
@env_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page; by default a free one.")
@click.option("--ensemble/--single", default=True, show_default=True,
              help="Average all trials of the strategy, or take the first one.")  # fmt: skip
@click.pass_obj
def try_it(metadata: ProjectMetadata, model: str, env: str | None, port: int, ensemble: bool) -> None:
    """Open a page on this machine where photographs can be dropped to see what MODEL says of them.

    MODEL is recommended (the default), STRATEGY, STRATEGY@VERSION, either with /trial_1, or a checkpoint file. Only
    this machine can reach the page, and nothing is sent anywhere. Ctrl-C ends it.
    """
    with explained():
        _serve(metadata, model, env, port, ensemble)


def _serve(metadata: ProjectMetadata, wanted: str, env: str | None, port: int, ensemble: bool) -> None:
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise UserError(
            f"the page needs {' and '.join(missing)}: install the extra `try`, e.g. `uv sync --extra try` "
            "or `pip install 'transferlab[try]'`"
        )
    from transferlab.core.runtime.device import apply, resolve
    from transferlab.serving.answerer import Answerer
    from transferlab.serving.app import HOST, application, listening, server
    from transferlab.versions.calibration import calibration_of
    from transferlab.versions.catalogue import of_catalog
    from transferlab.versions.models import find_model

    with settings.SESSION_CLASS.create(project_path=metadata.project_path, env=env) as session:
        context = session.load_context()
        catalog, params = context.catalog, context.params
    versions, configured = of_catalog(catalog), params["predict"]
    model = find_model(wanted, versions, catalog.load("experiment"), ensemble)
    calibration = calibration_of(model, versions, configured.level, configured.sets)
    say(str(model))
    say(calibration.told)
    machine = apply(resolve(params["training"].compute))
    answerer = Answerer(model.checkpoints, machine, calibration.calibrated, calibration.references)
    has_images = model.strategy is not None and catalog.exists("extracted")  # those of a published model lie elsewhere
    images = Path(catalog.load("extracted")["path"]) if has_images else None
    app = application(answerer, [str(model), calibration.told], params["report"].title, images)
    with listening(port) as socket, suppress(KeyboardInterrupt):
        say(f"Open http://{HOST}:{socket.getsockname()[1]} in a browser; Ctrl-C ends it")
        server(app).run(sockets=[socket])
