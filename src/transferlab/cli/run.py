"""`kedro run`, whose user errors are one message each."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable
from typing import Any

import click
import yaml
from kedro.config import MissingConfigException
from kedro.framework.cli import project
from kedro.framework.cli.utils import KedroCliError
from kedro.framework.project import pipelines as registered
from kedro.framework.project import settings
from omegaconf.errors import OmegaConfBaseException

from transferlab.console import progress
from transferlab.console.commands import command
from transferlab.console.errors import AlreadyDone, Interrupted, Terminated, UserError
from transferlab.core.runtime import interrupt
from transferlab.core.validation import did_you_mean

# How Kedro begins its message about a name that nothing has: the rest of it says what is wrong, a traceback nothing.
_MISTYPED = ("Failed to find the pipeline", "Pipeline does not contain")

# Options that choose nodes or versions: who gives one wants them run.
_CHOICES = (
    "from_inputs", "to_outputs", "from_nodes", "to_nodes", "node_names", "tags", "load_versions", "namespaces",
    "only_missing_outputs",
)  # fmt: skip


def _run_hooks() -> Any:
    """Return the hooks of this process's settings that know the run under way."""
    return next(hooks for hooks in settings.HOOKS if hasattr(hooks, "how_to_go_on"))


def _run(pipeline: str | None, pipelines: list[str], **options: Any) -> Any:
    """Call Kedro's `run`; `--pipeline` means `--pipelines` without a deprecation warning."""
    if pipeline and not pipelines:
        pipelines, pipeline = [pipeline], None
    is_whole = {*pipelines} <= {"__default__", "transfer"} and not any(options[name] for name in _CHOICES)
    _run_hooks().expect_run(is_whole)
    try:
        with interrupt.stoppable(), progress.loading():
            return _kedro_run(pipeline=pipeline, pipelines=pipelines, **options)
    except AlreadyDone:
        return {}
    except KeyboardInterrupt as error:
        kind, by = (Terminated, " by SIGTERM") if isinstance(error, interrupt.Terminated) else (Interrupted, "")
        raise kind(f"stopped{by}. Everything that was finished is kept.{_run_hooks().how_to_go_on()}") from None
    except UserError:
        raise
    except KedroCliError as error:  # of Kedro's own, which click shows as `NoneType: None`
        raise UserError(error.message) from error
    except MissingConfigException as error:
        elsewhere = command("run", "--conf-source=path/to/conf")
        raise UserError(f"{error}; go to the project's folder, or name its configuration: {elsewhere}") from error
    except ValueError as error:
        if str(error).startswith(_MISTYPED):
            raise UserError(f"{str(error).rstrip('.')}{_meant(str(error), pipelines)}") from error
        raise


def _meant(told: str, names: list[str]) -> str:
    """Return what the names that no node of these pipelines has may have meant; nothing where Kedro says it."""
    kind = next((kind for kind in ("nodes named", "namespaces:", "datasets named") if kind in told), None)
    if kind is None or "Did you mean" in told:
        return ""
    nodes = [node for name in names or ["__default__"] for node in registered[name].nodes]
    known = {
        "nodes named": {node.name for node in nodes},
        "namespaces:": {node.namespace for node in nodes if node.namespace},
        "datasets named": {name for node in nodes for name in (*node.inputs, *node.outputs)},
    }[kind]
    return "".join(did_you_mean(word, known) for word in re.findall(r"'([^']+)'", told))


def _told(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what reads `--params`, so that a value that is no YAML is told in one line."""

    @functools.wraps(callback)
    def read(context: click.Context, option: click.Option, value: str) -> Any:
        try:
            return callback(context, option, value)
        except (yaml.YAMLError, OmegaConfBaseException) as error:
            problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
            advice = """put quotes around text with such signs, as in --params='key="[a"'"""
            raise click.BadParameter(f"{value} cannot be read: {problem}; {advice}") from error

    return read


def _told_of_file(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what reads `--config`, so that a file that it cannot take is told in one line."""

    @functools.wraps(callback)
    def read(context: click.Context, option: click.Option, value: str | None) -> Any:
        try:
            return callback(context, option, value)
        except KedroCliError as error:
            raise UserError(f"--config: {value}: {error.message}") from error
        except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
            problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
            raise UserError(f"--config: {value} cannot be read: {problem}") from error
        except (KeyError, TypeError, AttributeError) as error:
            advice = "it must hold options below the key `run`, such as `env: my_images`"
            raise UserError(f"--config: {value} holds no options of `kedro run`: {advice}") from error

    return read


_TOLD = {"params": _told, "config": _told_of_file}


def _option(option: click.Parameter) -> click.Parameter:
    """Return an option of Kedro's, which stays as it is; ours may differ."""
    if option.name not in _TOLD or option.callback is None:
        return option
    own = copy.copy(option)
    own.callback = _TOLD[option.name](option.callback)
    return own


run = copy.copy(project.run)
_kedro_run = run.callback or _run
run.callback = functools.wraps(_kedro_run)(_run)
run.params = [
    *map(_option, project.run.params),
    click.Option(
        ["--verbose"],
        is_flag=True,
        expose_value=False,
        callback=lambda _context, _option, value: setattr(UserError, "VERBOSE_ERROR", value),
        help="Show the traceback of every error.",
    ),
]
