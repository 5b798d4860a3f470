import copy
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transferlab.config.errors import ConfigError
from transferlab.config.parse import check_networks, read, read_experiment
from transferlab.config.schema import Dataset, Training
from transferlab.core.models.freezing import rows
from transferlab.core.runtime.compute import Compute
from transferlab.core.strategies.optimizers import SGD, Adam
from transferlab.core.strategies.schedules import OneCycle
from transferlab.core.strategies.strategy import Strategy

VALID = {
    "dataset": {
        "source": {"name": "folder", "path": "photos"},
        "layout": {"name": "class_folders"},
        "split": {"test": 0.25, "validation": 0.1, "seed": 0, "limit": None},
        "duplicates": "exclude",
        "licence": "CC BY 4.0",
    },
    "training": {"trials": 3, "seed": 0, "compute": {"device": "cpu", "threads": 1}, "test_curve": False},
    "strategies": {
        "scratch": {
            "model": {"name": "transferlab/convnet"},
            "stages": {
                "train": {
                    "epochs": 2,
                    "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01},
                    "schedule": {"name": "one_cycle", "momentum_range": [0.85, 0.95]},
                    "clip": {"by": "norm", "at": 1.0},
                }
            },
        },
        "staged": {
            "model": {"name": "timm/test_resnet"},
            "input": {"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
            "select": "best",
            "stages": {
                "head": {
                    "trainable": "head",
                    "epochs": 1,
                    "optimizer": {"name": "sgd", "lr": 0.1},
                    "schedule": {"name": "plateau", "patience": 1},
                    "augmentation": [
                        {"name": "random_resized_crop", "scale": [0.5, 1.0]},
                        {"name": "random_flip", "axis": "horizontal"},
                        {"name": "color_jitter", "hue": 0.1},
                    ],
                    "views": 2,
                },
                "top": {
                    "trainable": [["fc\\..*", 1.0], ["layer4\\..*", 0.1], [".*", None]],
                    "epochs": 1,
                    "optimizer": {"name": "sgd", "lr": 0.01, "nesterov": True},
                    "schedule": {"name": "step", "every": 1},
                },
            },
        },
    },
    "report": {
        "title": "Photographs",
        "published": [{"strategy": "staged", "value": 0.9, "source": "a paper"}],
        "reference_lines": [{"label": "chance", "value": 0.5}],
    },
}


def changed(*changes):
    """The valid parameters with some dotted keys set; `...` removes one."""
    parameters = copy.deepcopy(VALID)
    for dotted, value in changes:
        *parents, last = dotted.split(".")
        block = parameters
        for key in parents:
            block = block[int(key) if isinstance(block, list) else key]
        if value is ...:
            del block[last]
        else:
            block[int(last) if isinstance(block, list) else last] = value
    return parameters


def check(parameters, deep=False):
    """Read the parameters and, where `deep`, try them on their networks."""
    experiment = read_experiment(parameters, "mine")
    if deep:
        check_networks(experiment, "mine")
    return experiment


def message(parameters, deep=False):
    with pytest.raises(ConfigError) as caught:
        check(parameters, deep)
    return str(caught.value)


def test_valid_parameters_become_typed():
    experiment = check(VALID, deep=True)
    assert experiment.training.compute == Compute(device="cpu", threads=1)
    stage = experiment.strategies["scratch"].stages["train"]
    assert stage.optimizer == Adam(name="adamw", lr=1e-3, weight_decay=0.01)
    assert stage.schedule == OneCycle(momentum_range=(0.85, 0.95))
    top = experiment.strategies["staged"].stages["top"]
    assert top.optimizer == SGD(lr=0.01, nesterov=True)
    assert rows(top.trainable, ()) == (("fc\\..*", 1.0), ("layer4\\..*", 0.1), (".*", None))
    assert experiment.strategies["staged"].decides
    assert not experiment.strategies["scratch"].decides


@pytest.mark.parametrize("value", ["auto", True, False])
def test_compilation_is_decided_or_left_to_be(value):
    experiment = read_experiment(changed(("training.compute.compile", value)), "mine")
    assert experiment.training.compute.compile == value


def test_keys_for_interpolation_only_are_not_read():
    read_experiment({**VALID, "_backbone": {"anything": 1}}, "mine")


HEAD, TRAIN = "strategies.staged.stages.head", "strategies.scratch.stages.train"
WRONG = {
    # the change, and what the line of it must be: key, value, cure
    "unknown_key": ((f"{TRAIN}.epoch", 3), f'{TRAIN}.epoch: 3 - unknown key; did you mean "epochs"?'),
    "unknown_top_key": (("datset", {}), 'datset: {} - unknown key; did you mean "dataset"?'),
    "unknown_far_from_any": (("training.xyzzy", 1), "training.xyzzy: 1 - unknown key; the keys here are trials, seed"),
    "union_without_name": (
        (f"{TRAIN}.optimizer", {"lr": 1}),
        f"{TRAIN}.optimizer.name: null - is missing; it must be one of adam, ",
    ),
    "list_without_name": (
        (f"{HEAD}.augmentation", [{"p": 0.5}]),
        f"{HEAD}.augmentation.0.name: null - is missing; it must be",
    ),
    "unknown_in_union": ((f"{TRAIN}.optimizer.lrr", 1), f'{TRAIN}.optimizer.lrr: 1 - unknown key; did you mean "lr"'),
    "unknown_in_list": (
        (f"{HEAD}.augmentation.0.scales", [1, 1]),
        f'{HEAD}.augmentation.0.scales: [1, 1] - unknown key; did you mean "scale"?',
    ),
    "wrong_type": (("training.trials", "three"), 'training.trials: "three" - must be a valid integer'),
    "number_as_text": ((f"{TRAIN}.optimizer.lr", "fast"), f'{TRAIN}.optimizer.lr: "fast" - must be a valid number'),
    "part_of_a_trial": (("training.trials", 2.5), "training.trials: 2.5 - must be a valid integer"),
    "not_a_mapping": (("training.compute", "cpu"), 'training.compute: "cpu" - must be'),
    "no_epochs": ((f"{TRAIN}.epochs", 0), f"{TRAIN}.epochs: 0 - must be from 1 to 1000000"),
    "no_trials": (("training.trials", 0), "training.trials: 0 - must be greater than or equal to 1"),
    "missing": ((f"{TRAIN}.epochs", ...), f"{TRAIN}.epochs: null - is missing; it must be given"),
    "no_strategies": (("strategies", {}), "strategies: {} - "),
    "optimizer_typo": (
        (f"{TRAIN}.optimizer.name", "adamm"),
        f'{TRAIN}.optimizer.name: "adamm" - must be one of adam, adamw, sgd; did you mean "adam" or "adamw"?',
    ),
    "schedule_typo": (
        (f"{HEAD}.schedule.name", "platau"),
        f'{HEAD}.schedule.name: "platau" - must be one of constant, cosine, one_cycle, plateau, step; '
        'did you mean "plateau"',
    ),
    "operation_typo": (
        (f"{HEAD}.augmentation.1.name", "random_flp"),
        f'{HEAD}.augmentation.1.name: "random_flp" - must be one of',
    ),
    "operation_out_of_range": (
        (f"{HEAD}.augmentation.2.hue", 0.7),
        f"{HEAD}.augmentation.2.hue: 0.7 - must be between 0 and 0.5",
    ),
    "literal_typo": (("training.compute.device", "gpu"), 'training.compute.device: "gpu" - must be auto or cuda or'),
    "neither_auto_nor_a_boolean": (
        ("training.compute.compile", "yes"),
        'compile: "yes" - must be auto or a valid',
    ),
    "select_typo": (
        ("strategies.staged.select", "bset"),
        'strategies.staged.select: "bset" - must be last or best; did you mean "best"',
    ),
    "mean_of_bytes": (
        ("strategies.staged.input", {"mean": [123.7, 116.3, 103.5], "std": [0.2, 0.2, 0.2]}),
        "strategies.staged.input.mean: [123.7, 116.3, 103.5] - must be from 0 to 1: of pixel values in [0, 1]; divide",
    ),
    "no_shorthand": (
        (f"{HEAD}.trainable", "heads"),
        f'{HEAD}.trainable: "heads" - must be head, all, a list of [pattern, scale] rows, or {{layer_decay',
    ),
    "no_decay": (
        (f"{HEAD}.trainable", {"layer_decay": 2}),
        f"{HEAD}.trainable.layer_decay: 2.0 - must be above 0 and at most 1",
    ),
    "class_weights_typo": (
        (f"{HEAD}.class_weights", "balancd"),
        f'{HEAD}.class_weights: "balancd" - must be balanced or an object; did you mean "balanced"',
    ),
    "weight_of_nothing": (
        (f"{HEAD}.class_weights", {"ants": 0}),
        f"{HEAD}.class_weights.ants: 0.0 - must be above 0 and at most",
    ),
    "stage_name": (
        ("strategies.scratch.stages.my stage", VALID["strategies"]["scratch"]["stages"]["train"]),
        "my stage",
    ),
    "strategy_name": (
        ("strategies.a-b", VALID["strategies"]["scratch"]),
        'strategies.a-b: "a-b" - must be a plain name',
    ),
    "unknown_published": (
        ("report.published.0.strategy", "stagd"),
        'report.published.0.strategy: "stagd" - is no strategy of this experiment; did you mean "staged"?',
    ),
    "test_curve": (
        ("training.test_curve", True),
        "training.test_curve: true - but strategies.staged decides by validation figures; set it to false",
    ),
}


# Of networks, what only the libraries that have them can tell.
UNKNOWN = {
    "no_such_network": (
        ("strategies.scratch.model.name", "torchvision/resnet81"),
        'strategies.scratch.model.name: "torchvision/resnet81" - is no torchvision model; did you mean "resnet18"',
    ),
    "no_such_family": (
        ("strategies.scratch.model.name", "resnet18"),
        'strategies.scratch.model.name: "resnet18" - must be one of torchvision/<name>',
    ),
    "no_such_weights": (
        ("strategies.scratch.model", {"name": "torchvision/resnet18", "weights": "IMAGENET1K_V3"}),
        'strategies.scratch.model.weights: "IMAGENET1K_V3" - is none of torchvision/resnet18\'s weights',
    ),
}


@pytest.mark.parametrize("name", WRONG | UNKNOWN)
def test_a_mistake_is_told_by_key_value_and_cure(name):
    change, line = (WRONG | UNKNOWN)[name]
    text = message(changed(change), deep=name in UNKNOWN)
    head, *lines = text.splitlines()
    assert head == "conf/mine/parameters.yml: one problem"
    assert len(lines) == 1
    assert line in lines[0].replace("'", '"') or line in lines[0]


def test_the_validation_split_must_be_there_for_decisions():
    table = {"name": "label_table", "file": "labels.csv", "columns": ["path", "label"], "label": "label"}
    text = message(changed(("dataset.layout", table), ("dataset.split.validation", 0.0)))
    assert "dataset.split.validation: 0.0 - but strategies.staged decides by a validation split" in text
    assert "e.g. 0.15" in text


def test_folders_without_a_validation_part_are_found_before_any_work(tmp_path):
    without = [("dataset.source", {"name": "folder", "path": str(tmp_path)}), ("dataset.split.validation", 0.0)]
    for folders in (["train", "val"], ["bees", "ants"], ["train", "test"]):
        for folder in folders:
            (tmp_path / folder).mkdir(exist_ok=True)
        if {"val", "test"} <= {folder.name for folder in tmp_path.iterdir()}:
            continue
        assert "strategies.staged decides by a validation split" in message(changed(*without))
    read_experiment(changed(*without), "mine")


def test_a_weights_file_that_is_not_there_is_found_before_any_work():
    text = message(changed(("strategies.staged.model.weights", "nope/none.pth")), deep=True)
    assert 'strategies.staged.model.weights: "nope/none.pth" - no file nope/none.pth' in text


def test_names_that_pipelines_and_commands_need_are_taken():
    parameters = changed()
    parameters["strategies"]["report"] = parameters["strategies"].pop("scratch")
    parameters["strategies"]["recommended"] = parameters["strategies"]["report"]
    assert 'strategies.report: "report" - is taken' in message(parameters)
    assert 'strategies.recommended: "recommended" - is taken' in message(parameters)


def test_several_mistakes_are_told_at_once():
    text = message(
        changed(
            (f"{TRAIN}.epochs", 0),
            (f"{TRAIN}.batch_size", 1),
            (f"{HEAD}.optimizer.nam", "x"),
            ("training.trials", "x"),
            ("report.titel", "x"),
            ("dataset.split.test", 2.0),
        )
    )
    assert text.startswith("conf/mine/parameters.yml: 6 problems\n")
    for key in (
        f"{TRAIN}.epochs: 0",
        f"{TRAIN}.batch_size: 1",
        f"{HEAD}.optimizer.nam",
        "training.trials",
        "report.titel",
    ):
        assert f"  {key}" in text
    assert "dataset.split.test: 2.0 - must be above 0 and below 1" in text


def test_a_wrong_type_does_not_hide_what_else_is_wrong():
    text = message(
        changed(
            (f"{TRAIN}.batch_size", "many"),
            (f"{TRAIN}.label_smoothing", -1),
            ("training.test_curve", True),
            (f"{HEAD}.augmentation.0.scale", "x"),
            (f"{HEAD}.views", 0),
            ("report.published.0.strategy", "stagd"),
        )
    )
    told = [line.split(": ")[0].strip() for line in text.splitlines()[1:]]
    assert sorted(told) == [
        "report.published.0.strategy",
        f"{TRAIN}.batch_size",
        f"{TRAIN}.label_smoothing",
        f"{HEAD}.augmentation.0.scale",
        f"{HEAD}.views",
        "training.test_curve",
    ]


def test_a_wrong_number_of_epochs_is_told_beside_a_wrong_type():
    text = message(changed((f"{TRAIN}.batch_size", "many"), (f"{TRAIN}.epochs", -1)))
    assert f"{TRAIN}.batch_size: " in text
    assert f"{TRAIN}.epochs: -1 - must be from 1 to 1000000" in text


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("key", "value", "cure"),
    [
        ("report.published.0.value", NAN, "must be a finite number"),
        ("report.published.0.value", 94.5, "must be a share between 0 and 1"),
        ("report.reference_lines.0.value", -INFINITE, "must be a finite number"),
        (f"{TRAIN}.optimizer.weight_decay", INFINITE, "must be a finite number"),
        (f"{TRAIN}.optimizer.lr", 1e40, "must be within 1e+30"),
        (f"{TRAIN}.epochs", INFINITE, "must be a finite number"),
        (f"{TRAIN}.epochs", 10**9, "must be at most 100,000"),
        (f"{TRAIN}.batch_size", 10**30, "must be at most 1,000,000"),
        (f"{TRAIN}.batch_size", 1e30, "must be at most 1,000,000"),
        ("training.compute.threads", 1_000_000, "must be at most 1,024"),
        ("training.trials", 10**9, "must be at most 1,000"),
        ("dataset.workers", 10**6, "must be at most 1,024"),
        ("training.seed", 10**40, "must be within 1e+30"),
        ("training.seed", 10**400, "must be within 1e+30"),
    ],
)
def test_numbers_are_finite_and_of_a_sane_size(key, value, cure):
    text = message(changed((key, value)))
    (line,) = text.splitlines()[1:]
    assert line.startswith(f"  {key}: ")
    assert cure in line


def test_a_default_needs_no_name_and_its_alternatives_do():
    check(changed(("dataset.layout", {"ignore": ["x"]}), (f"{TRAIN}.schedule", {})))
    with pytest.raises(
        ConfigError, match=r"dataset\.layout\.name: null - is missing; it must be one of class_folders, "
    ):
        check(changed(("dataset.layout", {"file": "a.csv", "label": "kind"})))


@pytest.mark.parametrize("scale", [NAN, -50, 0, 1e40])
def test_scales_are_positive(scale):
    text = message(changed(("strategies.staged.stages.top.trainable", [["fc\\..*", scale], [".*", None]])))
    (line,) = text.splitlines()[1:]
    assert line.startswith("  strategies.staged.stages.top.trainable.0.1: ")


def test_a_mean_that_is_no_number_is_told():
    text = message(changed(("strategies.staged.input.mean", [0.5, NAN, 0.5])))
    assert "  strategies.staged.input.mean.1: NaN - must be a finite number" in text


def test_names_are_short_enough_for_folders_and_none_is_a_figure():
    parameters = changed()
    parameters["strategies"]["s" * 300] = parameters["strategies"].pop("scratch")
    parameters["strategies"]["figure_x"] = parameters["strategies"]["s" * 300]
    text = message(parameters)
    assert "must have at most 60 letters" in text
    assert "must not begin with figure_" in text


def test_a_strategy_that_a_mistyped_name_makes_names_the_one_that_was_meant():
    parameters = changed()
    parameters["strategies"]["stagd"] = {"stages": {"tune": {"epochs": 2}}}
    assert "strategies.stagd.model: null - is missing; it must be given; did you mean 'staged'?" in message(parameters)


def test_long_values_are_shortened():
    text = message(changed(("training.trials", "x" * 500)))
    assert len(text) < 300


# ---- what only the network can tell --------------------------------------------------------------------------------
def test_policies_and_sizes_are_tried_on_the_network():
    parameters = changed(
        ("strategies.staged.stages.top.trainable", [["layre4\\..*", 1.0], [".*", None]]),
        ("strategies.staged.stages.head.trainable", [["fc\\..*", 1.0]]),
        ("strategies.scratch.model.name", "torchvision/vit_b_16"),
        ("strategies.scratch.input", {"size": 100}),
    )
    vit = copy.deepcopy(parameters)
    vit["strategies"]["scratch"]["input"] = {}
    next(iter(vit["strategies"]["scratch"]["stages"].values()))["size"] = 96
    assert ".size: 96 - torchvision/vit_b_16 refuses images of this size" in message(vit, deep=True)
    read_experiment(parameters, "mine")
    text = message(parameters, deep=True)
    assert text.startswith("conf/mine/parameters.yml: 3 problems\n")
    assert "strategies.staged.stages.top.trainable: [[" in text
    assert "the pattern 'layre4\\..*' matches no parameter that earlier rows leave; did you mean" in text
    assert "strategies.staged.stages.head.trainable: [[" in text
    assert "no row covers" in text
    assert "strategies.scratch.input.size: 100 - torchvision/vit_b_16 refuses images of this size" in text


# ---- one block, as a node gets it ----------------------------------------------------------------------------------
def test_a_block_is_read_with_its_own_key():
    assert read(Training, {"trials": 5}, "training").trials == 5
    assert read(Strategy, VALID["strategies"]["staged"]).select == "best"
    with pytest.raises(ConfigError, match="training: one problem\n  trials: 0 - must be"):
        read(Training, {"trials": 0}, "training")


@pytest.mark.parametrize(("given", "expected"), [("a", ("a",)), (["a", "b"], ("a", "b")), ([], ())])
def test_mirrors_may_be_one_or_several(given, expected):
    assert read(Dataset, {**VALID["dataset"], "mirror": given}).mirror == expected


def test_numbers_as_keys_are_told_too():
    assert "7: 8 - unknown key" in message({**VALID, 7: 8})
    text = message(changed(("strategies", {7: {"model": {}}})))
    assert "strategies.7.model.name: null - is missing" in text
    assert "strategies.7.stages: null - is missing" in text


def test_of_a_union_in_a_union_only_what_was_meant_is_told():
    table = {"name": "label_table", "file": "labels.csv", "columns": ["path"], "label": {"column": "label"}}
    text = message(changed(("dataset.layout", table)))
    keys = [line.split(":")[0].strip() for line in text.splitlines()[1:]]
    assert keys == [f"dataset.layout.label.{key}" for key in ("threshold", "below", "above")]


# ---- any mistake at all --------------------------------------------------------------------------------------------
def places(value, path=()):
    """The path of every value in the parameters."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, -1.0, 1e-3, float("nan"), float("inf"), 10**30])
    | st.sampled_from(["", "head", "all", "sgd", "adam", "best", "x", "torchvision/resnet18", "timm/resnet18", "a.b"])
)
KEYS = st.sampled_from(["name", "lr", "epochs", "x", "stages", "model", "path", "momentum", "value"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=4,
)


@st.composite
def mutations(draw):
    """Up to three places of the valid parameters replaced, removed or added to."""
    parameters = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in places(parameters) if path]))
        block = parameters
        for key in path[:-1]:
            block = block[key]
        how = draw(st.sampled_from(["replace", "remove", "add"]))
        if how == "replace":
            block[path[-1]] = draw(VALUES)
        elif how == "remove":
            del block[path[-1]]
        elif isinstance(block, dict):
            block[draw(KEYS)] = draw(VALUES)
        else:
            block.append(draw(VALUES))
    return parameters


@pytest.mark.parametrize("block", ["dataset", "training", "strategies", "report"])
@settings(max_examples=60, deadline=None)
@given(value=VALUES)
def test_any_value_for_a_whole_block_is_a_config_error_that_names_it(block, value):
    try:
        read_experiment({**VALID, block: value}, "mine")
    except ConfigError as error:
        assert all(line.startswith(f"  {block}") for line in str(error).splitlines()[1:])  # noqa: PT017 - both ways


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(mutations())
def test_any_mistake_is_a_config_error_that_names_a_key(parameters):
    try:
        read_experiment(parameters, "mine")
    except ConfigError as error:
        head, *lines = str(error).splitlines()
        assert head.startswith("conf/mine/parameters.yml: ")
        assert lines
        for line in lines:
            key, _, rest = line.strip().partition(": ")
            assert key
            assert " - " in rest
            assert key.split(".")[0] in {*VALID, *parameters}


def test_images_are_decoded_by_all_that_the_data_set_says_of_it():
    said = {"workers": 2, "range": "file", "max_pixels": 5, "channels": [3, 2, 1]}
    dataset = read(Dataset, {**VALID["dataset"], **said})
    assert asdict(dataset.decoding) == {**said, "channels": (3, 2, 1)}
