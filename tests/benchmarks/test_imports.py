"""Every benchmark can be imported: what it uses of the project is still there."""

import importlib
import pkgutil

import pytest

import benchmarks


@pytest.mark.parametrize("name", [each.name for each in pkgutil.iter_modules(benchmarks.__path__)])
def test_a_benchmark_can_be_imported(name):
    importlib.import_module(f"benchmarks.{name}")
