"""The names under which parameters and metrics are logged, as MLflow takes them."""

import pytest

pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")

from mlflow import MlflowClient

from transferlab.hooks.tracking import _Log

KEYS = ["glass (broken)", "glass [broken]", "a/b", "a:b", "a_b", "..", "_x28_", "(", "é", "x" * 300, "x" * 301]


def test_any_name_is_logged_and_different_ones_stay_different(tmp_path):
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    log = _Log(client, "names", {})
    with log.run("flowers", None) as run:
        log.params(run, {"names": {key: number for number, key in enumerate(KEYS)}})
        log.metrics(run, [(f"accuracy/{key}", number, 0) for number, key in enumerate(KEYS) if "/" not in key])
    logged = client.get_run(run).data
    assert sorted(map(int, logged.params.values())) == list(range(len(KEYS)))
    assert len(logged.metrics) == len(KEYS) - 1
    assert logged.params["names.glass _x28_broken_x29_"] == "0"
    assert {"names.a_b", "names.é"} <= logged.params.keys()
