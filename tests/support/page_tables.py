"""The tables that a page shows, from the simulated run of the reporting tests."""

from types import SimpleNamespace

from transferlab.reporting.page.page import Tables


def tables_of(example: SimpleNamespace) -> Tables:
    return Tables(
        example.comparison,
        example.differences,
        example.cost,
        example.metrics,
        example.per_class,
        example.quarantine,
        example.summaries,
        example.duplicates,
        example.mistakes,
        example.together,
        example.coverage,
    )
