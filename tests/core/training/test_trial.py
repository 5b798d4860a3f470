import dataclasses
import multiprocessing
import pickle
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch
from sklearn.metrics import f1_score
from tiny import COMPUTE, FLIP_AND_CROP, machine, same, spec_of, split_of, stage, strategy
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from transferlab.core.loading import features
from transferlab.core.loading.images import Images
from transferlab.core.models import factory, forward
from transferlab.core.models.freezing import PolicyError
from transferlab.core.runtime.memory import DeviceMemoryError
from transferlab.core.runtime.progress import Progress
from transferlab.core.strategies import optimizers
from transferlab.core.strategies.optimizers import SGD, Adam
from transferlab.core.strategies.schedules import Plateau
from transferlab.core.training import engine, scores, state
from transferlab.core.training.history import SplitResult
from transferlab.core.training.learners import OneNetwork
from transferlab.core.training.spec import UndefinedMetricError
from transferlab.core.training.trial import train_trial
from transferlab.core.transforms.operations import RandomFlip

TIMES = ("seconds", "seconds_per_epoch", "images_per_second", "peak_memory_mb")
STAGED = {
    "head": stage(trainable="head", optimizer=SGD(lr=0.2, weight_decay=0.1), augmentation=FLIP_AND_CROP, views=2),
    "top": stage(trainable=((r"layer4\..*", 0.5), (r"fc\..*", 1.0), (".*", None)), augmentation=FLIP_AND_CROP),
    "tune": stage(epochs=1, optimizer=Adam(name="adamw", lr=1e-3), augmentation=FLIP_AND_CROP),
}


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("splits")
    return split_of(folder / "train", 11), split_of(folder / "validation", 6, "validation", seed=1)


def run(plan, splits, folder, report=lambda _: None, **options):
    train, held_out = splits
    return train_trial(spec_of(plan, train, held_out, **options), folder, report)


def figures(rows):
    """Rows without what a clock says."""
    return [{key: value for key, value in dataclasses.asdict(row).items() if key not in TIMES} for row in rows]


def measured(net, images, split):
    """Loss and accuracy of a network on a split."""
    [found] = scores.evaluate(OneNetwork(net), images.in_order(), torch.from_numpy(split.labels), machine())
    return found.loss, found.accuracy


def identical(one, other):
    assert figures(one.history) == figures(other.history)
    assert figures(one.steps) == figures(other.steps)
    assert figures([one.cost]) == figures([other.cost])
    assert one.checkpoint.header == other.checkpoint.header
    return same(one.checkpoint.tensors, other.checkpoint.tensors)


# ---- seeds ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", ["timm/test_resnet", "transferlab/convnet"])
def test_the_same_seed_gives_the_same_bits(splits, tmp_path, model):
    plan = strategy(model, tune=stage(augmentation=FLIP_AND_CROP))
    torch.manual_seed(1)
    one = run(plan, splits, tmp_path / "one")
    torch.manual_seed(2)
    assert identical(one, run(plan, splits, tmp_path / "two"))


def test_another_trial_or_seed_is_another_course(splits, tmp_path):
    plan = strategy(tune=stage(augmentation=FLIP_AND_CROP))
    results = [run(plan, splits, tmp_path, trial=trial, seed=seed) for trial, seed in [(0, 0), (1, 0), (0, 1)]]
    losses = [tuple(row.loss for row in result.steps) for result in results]
    assert len(set(losses)) == 3
    assert len({result.history[0].loss for result in results}) == 3  # already before training: the head


def test_trials_differ_in_head_order_views_and_dropout(splits, tmp_path, monkeypatch):
    orders, views = [], []
    batch = Images.batch

    def spy(self, epoch, rows):
        if self.operations:
            orders.append(tuple(rows.tolist()))
            views.append(batch(self, epoch, torch.arange(11)))
        return batch(self, epoch, rows)

    monkeypatch.setattr(Images, "batch", spy)
    plan = strategy("transferlab/convnet", tune=stage(epochs=1, batch_size=11, augmentation=FLIP_AND_CROP))
    for trial in range(2):
        run(plan, splits, tmp_path, trial=trial)
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]
    assert not torch.equal(views[0], views[1])


def test_spec_and_result_travel_and_a_spawned_process_gives_the_same_bits(splits, tmp_path):
    plan = strategy("transferlab/convnet", tune=stage(augmentation=FLIP_AND_CROP))
    spec = spec_of(plan, *splits)
    here = train_trial(spec, tmp_path / "here", print)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(train_trial, (pickle.loads(pickle.dumps(spec)), tmp_path / "there", print))  # noqa: S301
    assert identical(here, there)


# ---- stages --------------------------------------------------------------------------------------------------------
class Watch:
    """Every stage's trained names and the network's state before and after it."""

    def __init__(self, monkeypatch):
        self.trained, self.optimizers, self.states = [], [], []
        begin_stage, build = OneNetwork.begin_stage, optimizers.build

        def begin(learner, *args):
            self.model = learner.network
            self.states.append({name: t.clone() for name, t in self.model.state_dict().items()})
            begin_stage(learner, *args)

        def spy(config, parameters, scales):
            self.optimizers.append(build(config, parameters, scales))
            names = {id(p): name for name, p in parameters.items()}
            groups = self.optimizers[-1].param_groups
            self.trained.append({names[id(p)]: g["scale"] for g in groups for p in g["params"]})
            return self.optimizers[-1]

        monkeypatch.setattr(OneNetwork, "begin_stage", begin)
        monkeypatch.setattr(optimizers, "build", spy)

    def moved(self):
        states = [*self.states, self.model.state_dict()]
        return [
            {name for name in before if not torch.equal(before[name], after[name])}
            for before, after in pairwise(states)
        ]


def test_staged_unfreezing_trains_exactly_what_each_stage_says(splits, tmp_path, monkeypatch):
    watch = Watch(monkeypatch)
    result = run(strategy(**STAGED), splits, tmp_path)
    names = {name for name, _ in watch.model.named_parameters()}
    top = {name for name in names if name.startswith("layer4.")}
    head = {"fc.weight", "fc.bias"}
    assert [set(groups) for groups in watch.trained] == [head, top | head, names]
    assert {name: scale for name, scale in watch.trained[1].items() if scale != 1} == dict.fromkeys(top, 0.5)
    in_head, in_top, in_all = watch.moved()
    assert in_head == head
    buffers = {name for name in watch.states[0] if name.startswith("layer4.")} - top
    assert in_top == top | head | buffers
    assert in_all >= names
    assert result.cost.trainable_parameters == result.cost.total_parameters


def test_a_stage_begins_with_a_new_optimizer_unless_told_to_keep_it(splits, tmp_path, monkeypatch):
    def momenta(keep):
        watch = Watch(monkeypatch)
        plan = strategy(head=stage(trainable="head"), tune=stage(keep_optimizer=keep))
        before, step = [], engine.StageTraining.epoch

        def spy(self, number, losses):
            if number == 0:
                before.append(sum(bool(kept["momentum_buffer"].any()) for kept in self.optimizer.state.values()))
            return step(self, number, losses)

        monkeypatch.setattr(engine.StageTraining, "epoch", spy)
        run(plan, splits, tmp_path)
        monkeypatch.undo()
        assert len(watch.optimizers) == 2
        return before

    assert momenta(keep=False) == [0, 0]
    assert momenta(keep=True) == [0, 2]


def test_a_policy_that_does_not_fit_stops_the_trial(splits, tmp_path):
    with pytest.raises(PolicyError, match="nothing_like_it"):
        run(strategy(tune=stage(trainable=(("nothing_like_it", 1.0), (".*", None)))), splits, tmp_path)


# ---- what is seen when ---------------------------------------------------------------------------------------------
def seen_images(monkeypatch):
    seen, batch = [], Images.batch

    def spy(self, epoch, rows):
        seen.append((self.split.name, bool(self.operations), batch(self, epoch, rows)))
        return seen[-1][2]

    monkeypatch.setattr(Images, "batch", spy)
    return seen


def test_held_out_images_are_never_augmented(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "MOST_RENDERED_BYTES", 0)  # else they are rendered once
    seen = seen_images(monkeypatch)
    run(strategy(**STAGED), splits, tmp_path)
    held_out = [x for name, _, x in seen if name == "validation"]
    assert len(held_out) > 3
    assert all(torch.equal(x, held_out[0]) for x in held_out)
    assert {augmented for name, augmented, _ in seen if name == "validation"} == {False}
    assert {augmented for name, augmented, _ in seen if name == "train"} == {True}


def test_a_stage_of_a_smaller_size_trains_on_it_and_is_measured_at_the_networks_own(splits, tmp_path, monkeypatch):
    seen, batch = [], Images.batch
    monkeypatch.setattr(
        Images, "batch", lambda self, *at: (x := batch(self, *at), seen.append((self.split.name, *x.shape[2:])))[0]
    )
    run(strategy(small=stage(size=24, augmentation=FLIP_AND_CROP), full=stage()), splits, tmp_path)
    assert set(seen) == {("train", 24, 24), ("train", 32, 32), ("validation", 32, 32)}
    assert seen.index(("train", 24, 24)) < seen.index(("train", 32, 32))


def test_views_are_shared_by_all_trials_and_fresh_ones_by_none(splits, tmp_path, monkeypatch):
    def first_views(trial, views):
        seen, draws = [], Images.draws

        def spy(self, number):
            drawn = draws(self, number)
            if self.operations:
                seen.append((number, drawn.map_N23))
            return drawn

        monkeypatch.setattr(Images, "draws", spy)
        plan = strategy(tune=stage(epochs=3, augmentation=FLIP_AND_CROP, views=views))
        run(plan, splits, tmp_path, trial=trial)
        monkeypatch.undo()
        return dict(seen)

    shared = [first_views(trial, views=2) for trial in range(2)]
    assert shared[0].keys() == {0, 1}
    assert all(torch.equal(shared[0][number], shared[1][number]) for number in range(2))
    fresh = [first_views(trial, views=None) for trial in range(2)]
    assert fresh[0].keys() == {0, 1, 2}
    tables = [table for views in (*fresh, shared[0]) for table in views.values()]
    assert len({table.numpy().tobytes() for table in tables}) == 8


def test_stages_never_share_fresh_views(splits, tmp_path, monkeypatch):
    keys, batch = set(), Images.batch
    monkeypatch.setattr(Images, "batch", lambda self, *at: (keys.add(self.seed), batch(self, *at))[1])
    run(strategy(one=stage(augmentation=FLIP_AND_CROP), two=stage(augmentation=FLIP_AND_CROP)), splits, tmp_path)
    assert len(keys - {()}) == 2


def test_the_last_partial_batch_is_trained_on(splits, tmp_path):
    result = run(strategy(tune=stage(epochs=1, batch_size=4)), splits, tmp_path)
    assert [row.step for row in result.steps] == [1, 2, 3]
    weighted = sum(row.loss * n for row, n in zip(result.steps, (4, 4, 3), strict=True)) / 11
    assert result.history[1].loss == pytest.approx(weighted)


# ---- decisions -----------------------------------------------------------------------------------------------------
def test_best_keeps_the_first_epoch_with_the_highest_validation_accuracy(splits, tmp_path, monkeypatch):
    # Really trained; only what the validation split is said to give is set.
    said, weights = iter([0.5, 0.25, 0.75, 0.75, 0.5]), []
    evaluate = scores.evaluate

    def spy(learner, *rest):
        weights.append({name: t.clone() for name, t in learner.network.state_dict().items()})
        [found] = evaluate(learner, *rest)
        return [found._replace(accuracy=(value := next(said)), value=value)]

    monkeypatch.setattr(scores, "evaluate", spy)
    plan = strategy(select="best", tune=stage(epochs=4))
    result = run(plan, splits, tmp_path)
    assert same(result.checkpoint.tensors, weights[2])
    assert not same(result.checkpoint.tensors, weights[3])
    header = result.checkpoint.header
    assert header.epoch == 2
    assert header.selection == "best validation accuracy"
    assert header.metrics["validation"]["accuracy"] == 0.75


def test_best_looks_over_all_stages_and_keeps_the_whole_network(splits, tmp_path):
    result = run(strategy(select="best", **STAGED), splits, tmp_path)
    curve = {row.epoch: row.accuracy for row in result.history if row.split == "validation" and row.epoch}
    assert result.checkpoint.header.epoch == max(curve, key=curve.get)
    net = factory.load(result.checkpoint, machine())
    images = Images(splits[1], result.checkpoint.header.view, machine())
    assert measured(net, images, splits[1])[1] == pytest.approx(max(curve.values()))


def test_best_goes_by_the_metric_that_decides(splits, tmp_path):
    train, held_out = splits
    few = dataclasses.replace(held_out, rows=held_out.rows[:5], labels=held_out.labels[:5])  # of one class more
    spec = dataclasses.replace(spec_of(strategy(select="best", tune=stage(epochs=6)), train, few), metric="macro_f1")
    result = train_trial(spec, tmp_path, lambda _: None)
    held = {row.epoch: row for row in result.history if row.split == "validation" and row.epoch}
    header = result.checkpoint.header
    assert header.selection == "best validation macro F1"
    assert header.epoch == max(held, key=lambda epoch: held[epoch].value)
    assert header.metrics["validation"]["macro_f1"] == held[header.epoch].value
    net = factory.load(result.checkpoint, machine())
    logits_NK = forward.logits(net, Images(few, header.view, machine()).in_order(), machine())
    expected = f1_score(few.labels, logits_NK.argmax(dim=1).numpy(), average="macro")
    assert held[header.epoch].value == pytest.approx(expected)
    assert {row.value for row in result.history if row.split == "train"} == {None}
    lowest = train_trial(dataclasses.replace(spec, metric="log_loss"), tmp_path, lambda _: None)
    losses = {row.epoch: row.loss for row in lowest.history if row.split == "validation" and row.epoch}
    assert lowest.checkpoint.header.epoch == min(losses, key=losses.get)
    assert [row.loss for row in lowest.history] == [row.loss for row in result.history], "nothing else differs"


def test_auroc_can_only_decide_where_validation_images_are_of_all_classes(splits):
    train, held_out = splits
    reds = dataclasses.replace(held_out, rows=held_out.rows[::2], labels=held_out.labels[::2])
    spec = spec_of(strategy(select="best"), train, reds)
    with pytest.raises(UndefinedMetricError, match=r"strategies\.tiny goes by the AUROC.*trial 1 has none of 'blue'"):
        dataclasses.replace(spec, metric="auroc")
    dataclasses.replace(spec, strategy=strategy(), metric="auroc")  # nothing is decided


def test_last_keeps_the_last_epoch(splits, tmp_path):
    result = run(strategy(tune=stage(epochs=3)), splits, tmp_path)
    header = result.checkpoint.header
    assert (header.epoch, header.selection) == (3, "last epoch")
    net = factory.load(result.checkpoint, machine())
    images = Images(splits[1], result.checkpoint.header.view, machine())
    loss, _ = measured(net, images, splits[1])
    assert loss == pytest.approx(result.history[-1].loss, rel=1e-5)
    assert header.metrics["validation"]["loss"] == result.history[-1].loss


@pytest.mark.parametrize("metric", ["log_loss", "auroc", None])
def test_the_plateau_follows_the_validation_scores_of_its_stage(metric, splits, tmp_path, monkeypatch):
    losses = iter([0.1, 0.3, 0.2, 1.0, 2.0, 0.5, 0.6, 0.7])  # before training, then each epoch of two stages

    def said(*asked):
        loss = next(losses)
        assert asked[-1] == metric
        if metric is None:
            return [SplitResult(loss, 0.5)]
        # All but what is monitored says the contrary.
        return [SplitResult(loss, 0.5, loss) if metric == "log_loss" else SplitResult(-loss, loss, 2 - loss)]

    monkeypatch.setattr(scores, "evaluate", said)
    monitor = "metric" if metric else "loss"
    plateau = stage(epochs=5, optimizer=SGD(lr=0.01), schedule=Plateau(reduce=0.5, patience=0), monitor=monitor)
    spec = spec_of(strategy(head=stage(trainable="head"), tune=plateau), *splits)
    result = train_trial(dataclasses.replace(spec, metric=metric or "auroc"), tmp_path, lambda _: None)
    rates = [row.learning_rate for row in result.history if row.split == "train"]
    assert rates[2:] == pytest.approx([0.01, 0.01, 0.005, 0.005, 0.0025])


@pytest.mark.parametrize("plan", [strategy(select="best"), strategy(tune=stage(schedule=Plateau()))])
def test_nothing_is_decided_by_test_images_or_by_none(splits, plan):
    train, held_out = splits
    spec_of(plan, train, held_out)
    for other in (dataclasses.replace(held_out, name="test"), None):
        with pytest.raises(ValueError, match="decides by validation figures and was given"):
            spec_of(plan, train, other)
        spec_of(strategy(), train, other)


# ---- what is left --------------------------------------------------------------------------------------------------
def test_history_and_steps_tell_the_whole_course(splits, tmp_path):
    result = run(strategy(**STAGED), splits, tmp_path, trial=2)
    assert {(row.strategy, row.trial) for row in [*result.history, *result.steps, result.cost]} == {("tiny", 2)}
    course = [(row.epoch, row.split, row.stage) for row in result.history]
    stages = ["head", "head", "top", "top", "tune"]
    assert course == [
        (0, "validation", "head"),
        *((epoch, split, name) for epoch, name in enumerate(stages, 1) for split in ("train", "validation")),
    ]
    assert [row.step for row in result.steps] == list(range(1, 16))
    assert [row.epoch for row in result.steps] == [epoch for epoch in range(1, 6) for _ in range(3)]
    last = {row.epoch: row.learning_rate for row in result.steps}
    assert all(row.learning_rate == last.get(row.epoch, 0.0) for row in result.history)
    assert {key: getattr(result.cost, key) for key in ("epochs", "views", "device", "threads")} == {
        "epochs": 5,
        "views": 2,
        "device": "cpu",
        "threads": COMPUTE.threads,
    }
    assert all(getattr(result.cost, key) > 0 for key in TIMES)


def test_without_held_out_images_there_is_no_held_out_curve(splits, tmp_path):
    result = run(strategy(), (splits[0], None), tmp_path)
    assert [row.split for row in result.history] == ["train", "train"]
    assert result.checkpoint.header.epoch == 2


def test_no_stage_at_all_leaves_the_untrained_network(splits, tmp_path):
    plan = dataclasses.replace(strategy(), stages={})
    result = run(plan, splits, tmp_path)
    assert [row.epoch for row in result.history] == [0]
    assert same(result.checkpoint.tensors, spec_of(plan, *splits).initial.tensors)


def test_progress_is_told_after_every_step_and_epoch(splits, tmp_path):
    told = []
    result = run(strategy(tune=stage(augmentation=(RandomFlip(),))), splits, tmp_path, report=told.append)
    steps = [at for at in told if at.loss is None]
    assert steps == [Progress(0, "tune", epoch, 2, step, 3) for epoch in (1, 2) for step in (1, 2, 3)]
    ends = [at for at in told if at.loss is not None]
    train, held_out = ([row for row in result.history if row.split == name] for name in ("train", "validation"))
    assert [(at.loss, at.accuracy) for at in ends] == [(row.loss, row.accuracy) for row in train]
    assert [at.held_out_accuracy for at in ends] == [row.accuracy for row in held_out[1:]]


def test_a_trial_leaves_its_spec_as_it_was(splits, tmp_path):
    spec = spec_of(strategy(), *splits)
    before = pickle.dumps(spec.initial)
    train_trial(spec, tmp_path, lambda _: None)
    assert pickle.dumps(spec.initial) == before


@pytest.mark.parametrize("epoch", range(2, 6))
def test_after_a_resume_in_any_stage_the_trained_names_are_what_they_were(splits, tmp_path, monkeypatch, epoch):
    monkeypatch.setattr(state, "SECONDS_BETWEEN_STATES", 0.0)
    spec, folders = spec_of(strategy(**STAGED), *splits), (tmp_path / "features", tmp_path / "states")
    whole = train_trial(spec, folders[0], lambda _: None)

    def stop(at):
        if at.epoch == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_trial(spec, folders[0], stop, folders[1])
    watch = Watch(monkeypatch)
    resumed = train_trial(spec, folders[0], lambda _: None, folders[1])
    names = {name for name, _ in watch.model.named_parameters()}
    head = {name for name in names if name.startswith("fc.")}
    top = head | {name for name in names if name.startswith("layer4.")}
    # The stage of the last finished epoch is entered again, then all that follow.
    entered = [head, top, names][(epoch - 2) // 2 :]
    assert [set(groups) for groups in watch.trained] == entered
    assert identical(whole, resumed)


# ---- memory --------------------------------------------------------------------------------------------------------
@contextmanager
def memory_for(images):
    """While open, convolutions of more images run out of memory, as on a small GPU."""

    def forward(module, args):
        if isinstance(module, nn.Conv2d) and len(args[0]) > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    handle = register_module_forward_pre_hook(forward)
    try:
        yield
    finally:
        handle.remove()


def test_out_of_memory_a_trial_says_what_to_do_and_goes_on_with_smaller_passes(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(state, "SECONDS_BETWEEN_STATES", 0.0)
    # BatchNorm is frozen: in training mode it would see passes, not batches.
    rows = ((r"(.*bn\d|.*downsample\.2|conv1\.[14])\..*", None), (".*", 1.0))
    plan = strategy(small=stage(trainable=rows), large=stage(trainable=rows, batch_size=8))
    spec, folders = spec_of(plan, *splits), (tmp_path, lambda _: None, tmp_path / "states")
    roomy = train_trial(spec, *folders[:2])
    advice = r"strategies.tiny: trial 1, stage large, batch_size 8: .*training.compute.micro_batch to 4 or less.*size"
    with memory_for(6), pytest.raises(DeviceMemoryError, match=advice):
        train_trial(spec, *folders)
    with memory_for(4):  # less than the held-out images: they too are passed in parts
        thrifty = train_trial(dataclasses.replace(spec, compute=dataclasses.replace(COMPUTE, micro_batch=4)), *folders)
    assert [row.epoch for row in thrifty.history] == [row.epoch for row in roomy.history]
    assert figures(thrifty.history)[:5] == figures(roomy.history)[:5]  # not trained again
    losses = [[row.loss for row in result.history] for result in (thrifty, roomy)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_out_of_memory_for_one_image_only_a_smaller_size_helps(splits, tmp_path):
    spec = spec_of(strategy(), *splits, compute=dataclasses.replace(COMPUTE, micro_batch=1))
    with memory_for(0), pytest.raises(DeviceMemoryError, match=r"stage tune.*set input.size to fewer pixels"):
        train_trial(spec, tmp_path, lambda _: None)
