import numpy as np
import pytest

from transferlab.core.calibration.reference import Calibrated, Reference, Training, from_file, to_bytes


def reference(seed=0, images="validation"):
    rng = np.random.default_rng(seed)
    p_NK = rng.dirichlet([1, 1, 1], 40)
    training_MF, features_NF = (rng.normal(3, 1, (n, 8)).astype(np.float32) for n in (60, 40))
    truth_N = np.random.default_rng(9).integers(0, 3, 40)
    training = Training(training_MF, np.arange(60) % 3, tuple(f"{n}.png" for n in range(60)))
    return Reference.of(images, p_NK, truth_N, features_NF, training)


def test_what_is_stored_calibrates_to_the_bit(tmp_path):
    references = {0: reference(0), 3: reference(3)}
    (tmp_path / "r.safetensors").write_bytes(to_bytes(references))
    stored = from_file(str(tmp_path / "r.safetensors"))
    assert list(stored) == [0, 3]
    assert stored[3].training.paths == references[3].training.paths
    assert list(stored[3].training.labels_M) == list(references[3].training.labels_M)
    rng = np.random.default_rng(1)
    p_NK, features = rng.dirichlet([1, 1, 1], 30), [rng.normal(2, 1, (30, 8)) for _ in references]
    before, after = (Calibrated.of(list(some.values()), 0.8) for some in (references, stored))
    assert np.array_equal(before.sets.of(p_NK), after.sets.of(p_NK))
    assert np.array_equal(before.familiarity.relative_distance(features), after.familiarity.relative_distance(features))
    (tmp_path / "none.safetensors").write_bytes(to_bytes({}))
    assert from_file(str(tmp_path / "none.safetensors")) == {}


def test_a_flipped_bit_and_another_file_are_told(tmp_path):
    file = tmp_path / "r.safetensors"
    content = bytearray(to_bytes({0: reference()}))
    content[-3] ^= 4
    for wrong in (bytes(content), b"{}", b""):
        file.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"SHA-256|does not hold"):
            from_file(str(file))


def test_trials_with_other_validation_images_cannot_be_calibrated_together():
    with pytest.raises(ValueError, match="without common validation images"):
        Calibrated.of([reference(0), reference(1, "others")])


def test_a_mean_of_trials_flags_one_in_twenty_of_the_validation_images():
    references = [reference(seed) for seed in range(3)]
    familiarity = Calibrated.of(references).familiarity
    mean_N = np.mean([one.distance_N for one in references], axis=0)
    assert (familiarity.relative(mean_N) > 1).mean() == pytest.approx(0.05)
