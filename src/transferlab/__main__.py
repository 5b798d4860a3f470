"""Runs the project without Kedro's command: `python -m transferlab` and `transferlab` take the options of `kedro run`.

This is how an installed package runs: `transferlab --conf-source=conf --env=my_photos`.
"""

from __future__ import annotations

from kedro.framework.project import configure_project

PACKAGE = "transferlab"


def main() -> None:
    """Run a pipeline of the project in the working directory, or of the one that `--conf-source` names."""
    configure_project(PACKAGE)
    from transferlab.cli import run  # it needs the configured project

    run(prog_name=PACKAGE)


if __name__ == "__main__":
    main()
