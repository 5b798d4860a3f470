"""What a state depends on, and what its messages say; nothing is trained here."""

from dataclasses import asdict, fields, replace

import pytest
from tiny import COMPUTE, machine, spec_of, split_of, stage, strategy

from transferlab.core.loading.feature_cache import FeatureCacheConfig
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.training.fingerprint import MAY_DIFFER, differences, fingerprint
from transferlab.core.training.spec import TrialSpec
from transferlab.core.training.state import StateError, StateFile

STATE = {"weights": {}, "records": []}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return spec_of(strategy(), split_of(folder / "train", 6), split_of(folder / "validation", 4, "validation", seed=1))


def of(spec, on=None, together=1):
    return fingerprint(spec, on or machine(), {"tune": False}, together)


def begun_then_read(folder, begun, now, name="trial_0.pt", stages=(), at=None):
    StateFile(folder / name, begun, stages).write({**STATE, "stage": at}, 1)
    return StateFile(folder / name, now, stages).read()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"keeping": FeatureCacheConfig(dtype="bfloat16")}, "training.features.dtype was float32, now bfloat16"),
        ({"seed": 1}, "training.seed was 0, now 1"),
        ({"held_out": None}, "other held-out images"),
        (
            {"strategy": strategy(tune=stage(optimizer=SGD(lr=0.1)))},
            "strategies.tiny.stages.tune.optimizer.lr was 0.05, now 0.1",
        ),
    ],
)
def test_another_setting_is_refused_by_its_name(spec, tmp_path, changes, told):
    with pytest.raises(StateError) as caught:
        begun_then_read(tmp_path, of(spec), of(replace(spec, **changes)))
    assert told in str(caught.value)
    assert f"delete the folder {tmp_path} to train anew" in str(caught.value)


def test_the_metric_matters_where_it_decides_during_training(spec):
    assert of(spec) == of(replace(spec, metric="auroc"))
    for plan in (strategy(select="best"), strategy(tune=stage(patience=2))):
        begun = replace(spec, strategy=plan)
        assert differences(of(begun), of(replace(begun, metric="auroc"))) == ["report.metric was accuracy, now auroc"]
    by_loss = replace(spec, strategy=strategy(tune=stage(patience=2, monitor="loss")))
    assert of(by_loss) == of(replace(by_loss, metric="auroc"))


def test_what_may_differ_does_not_matter(spec, tmp_path):
    roomy = replace(spec, keeping=FeatureCacheConfig(limit_gb=1.0))
    assert begun_then_read(tmp_path, of(spec), of(roomy))["weights"] == {}
    frozen = replace(spec, strategy=strategy(tune=stage(trainable="head")))
    few = replace(machine(), micro_batch=1, parallel_trials=1, compile=False)
    assert begun_then_read(tmp_path, of(frozen), of(frozen, few))["weights"] == {}


def test_passes_matter_where_they_cut_the_batches_that_batch_norm_trains_on(spec):
    key = "training.compute.micro_batch (BatchNorm of stage tune)"  # 6 images in batches of 4
    assert differences(of(spec), of(spec, replace(machine(), micro_batch=3))) == [f"{key} was None, now 3"]
    assert of(spec) == of(spec, replace(machine(), micro_batch=4))
    assert key not in of(spec, replace(machine(), micro_batch=2, devices=2))
    joined = replace(spec, strategy=strategy(tune=stage(batch_size=5)))  # the sixth image joins the other five
    assert [key in of(joined, replace(machine(), micro_batch=limit)) for limit in (5, 6)] == [True, False]
    no_norm = strategy(tune=stage(trainable=((r"(.*bn\d|.*downsample\.2|conv1\.[14])\..*", None), (".*", 1.0))))
    assert of(replace(spec, strategy=no_norm)) == of(replace(spec, strategy=no_norm), replace(machine(), micro_batch=1))


def test_a_state_goes_on_with_other_passes_in_stages_that_have_not_begun(spec, tmp_path):
    plan = strategy(head=stage(trainable="head"), tune=stage(), end=stage())
    spec, few = replace(spec, strategy=plan), replace(machine(), micro_batch=2)
    begun, now, stages = of(spec), of(spec, few), list(plan.stages)
    assert begun_then_read(tmp_path, begun, now, stages=stages, at="head")["stage"] == "head"
    with pytest.raises(StateError, match=r"BatchNorm of stage tune\) was None, now 2\. Set them back"):
        begun_then_read(tmp_path, begun, now, stages=stages, at="tune")
    with pytest.raises(StateError, match=r"stage tune\) was 2, now None; .*stage end\) was 2, now None\. Set"):
        begun_then_read(tmp_path, now, begun, stages=stages, at="end")


def test_another_number_of_threads_is_told_with_the_choice(spec, tmp_path):
    two = replace(machine(), threads=2)
    with pytest.raises(StateError, match=r"begun with 2 threads, now 1 \(training\.compute\.threads\)\. Set them back"):
        begun_then_read(tmp_path, of(spec, two), of(spec))


def test_swapped_states_are_refused_by_name(spec, tmp_path):
    specs = [replace(spec, trial=number) for number in range(2)]
    files = [StateFile(tmp_path / f"trial_{one.trial}.pt", of(one)) for one in specs]
    for file in files:
        file.write(STATE, 1)
    contents = [file.path.read_bytes() for file in files]
    for file, content in zip(files, reversed(contents), strict=True):
        file.path.write_bytes(content)
    with pytest.raises(StateError, match=r"trial_0\.pt is the state of trial 2 of strategy tiny, not of trial 1"):
        files[0].read()
    with pytest.raises(StateError, match=r"trial_1\.pt is the state of trial 1 of strategy tiny, not of trial 2"):
        files[1].read()
    other = replace(spec, name="huge")
    with pytest.raises(StateError, match=r"of trial 1 of strategy tiny, not of trial 1 of strategy huge"):
        begun_then_read(tmp_path, of(spec), of(other))


def test_every_field_that_a_trial_receives_is_told_or_listed_as_free_to_differ(spec):
    told = {key.partition("[")[0] for key in of(spec)}
    assert {f"training.features.{name}" for name in asdict(spec.keeping)} <= told | MAY_DIFFER.keys()
    assert {f"training.compute.{name}" for name in asdict(machine())} <= told | MAY_DIFFER.keys()
    stages = {f"strategies.tiny.stages.tune.{field.name}" for field in fields(spec.strategy.stages["tune"])}
    empty = {"strategies.tiny.stages.tune.augmentation"}
    assert all(any(key == name or key.startswith(f"{name}.") for key in told) for name in stages - empty)
    assert {field.name for field in fields(TrialSpec)} == {field.name for field in fields(spec)}
    assert MAY_DIFFER.keys().isdisjoint(told)


def test_a_value_without_a_json_form_is_an_error(spec):
    with pytest.raises(TypeError, match=r"training\.seed: object has no explicit JSON form"):
        of(replace(spec, seed=object()))


def test_a_state_of_another_format_is_refused(spec, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("transferlab.core.training.state.FORMAT", 1)
        StateFile(tmp_path / "trial_0.pt", of(spec)).write(STATE, 1)
    with pytest.raises(StateError, match="written by another version"):
        StateFile(tmp_path / "trial_0.pt", of(spec)).read()


def test_compute_is_what_it_resolved_to(spec):
    assert of(spec) == of(replace(spec, compute=replace(COMPUTE, device="auto")))
