"""Runs the project without Kedro's command: `python -m transferlab` takes the options of `kedro run`."""

from __future__ import annotations

from kedro.framework.project import configure_project

PACKAGE = "transferlab"


def main() -> None:
    """Run a pipeline of the project in the working directory, or of the one that `--conf-source` names."""
    configure_project(PACKAGE)
    from transferlab.cli import run

    run()


if __name__ == "__main__":
    main()
