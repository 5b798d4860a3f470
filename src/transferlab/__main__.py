"""Runs the project without Kedro's command: `python -m transferlab` and `transferlab` take the options of `kedro run`.

This is how an installed package runs: `transferlab --conf-source=conf --env=my_photos`.
"""

from __future__ import annotations

PACKAGE = "transferlab"


def main() -> None:
    """Run a pipeline of the project in the working directory, or of the one that `--conf-source` names."""
    try:  # Kedro takes a second to import, and a Ctrl-C until then is no reason for a traceback
        from kedro.framework.project import configure_project

        configure_project(PACKAGE)
        from transferlab.cli import run  # it needs the configured project
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run(prog_name=PACKAGE)


if __name__ == "__main__":
    main()
