import base64
import zlib

import numpy as np
import pytest

from transferlab.core.calibration.reference import Calibrated, Reference, Training, from_file, to_bytes

# Of three validation and four training images, as the first version of the format wrote it: of the head's input alone.
FORMAT_1 = (
    "c-n=KyGq1B6o#W<=R+)0kCMzJlk5f3Er{p?Xx1><IkQ>VOUR6%F5B5#YhmGA_y~g5VkuUl-C|)QPLc(6z5UI9<}m+vI44-"
    "PN=;B44?%OmHIHM|m>`|=k&=)Pc!C;e5+OOxhg?UfQFCxDLMr9NW5qK<M2JMV5U{!gkNR9tTJI772W&!<ZeZ65FeX{u6`swc^uhBPI0oRlG$"
    "BcZ3Zl;Ye4q-"
    "VnMUT`AMzfkYK%@nLG?G|IxV}q5#sCFs8_X<kFxtwimL2Pr&Bb=h^(8PV4&iyVo#wDGcX%&Fc;xstKzlmb}%Y$F_uz+R;FcRN;+j+=leR1w|"
    "`I5?`cY~$EvvKE6qn;_)2L1NAMU9?23@Z+nax6G5MYjZ0wMric8>nKL>Mw_7{r7K40J`ia}t<b<HJfm8=CVE%<N!y@T1#`1~dGZ&CPqGz%}@"
    "Rt9UUPvOmVq37`Iw9w_;ujc+Z_q&jmdI+tSW!*PVoa5%9XRxhzBPG^J"
)


def reference(seed=0, images="validation"):
    rng = np.random.default_rng(seed)
    p_NK = rng.dirichlet([1, 1, 1], 40)
    of_training, features = (tuple(rng.normal(3, 1, (n, f)).astype(np.float32) for f in (5, 8)) for n in (60, 40))
    truth_N = np.random.default_rng(9).integers(0, 3, 40)
    training = Training(of_training, np.arange(60) % 3, tuple(f"{n}.png" for n in range(60)))
    return Reference.of(images, p_NK, truth_N, features, training)


def test_what_is_stored_calibrates_to_the_bit(tmp_path):
    references = {0: reference(0), 3: reference(3)}
    (tmp_path / "r.safetensors").write_bytes(to_bytes(references))
    stored = from_file(str(tmp_path / "r.safetensors"))
    assert list(stored) == [0, 3]
    assert stored[3].training.paths == references[3].training.paths
    assert list(stored[3].training.labels_M) == list(references[3].training.labels_M)
    rng = np.random.default_rng(1)
    p_NK, features = rng.dirichlet([1, 1, 1], 30), [[rng.normal(2, 1, (30, f)) for f in (5, 8)] for _ in references]
    before, after = (Calibrated.of(list(some.values()), 0.8) for some in (references, stored))
    assert np.array_equal(before.sets.of(p_NK), after.sets.of(p_NK))
    assert np.array_equal(before.familiarity.relative_distance(features), after.familiarity.relative_distance(features))
    (tmp_path / "none.safetensors").write_bytes(to_bytes({}))
    assert from_file(str(tmp_path / "none.safetensors")) == {}


def test_what_an_earlier_version_stored_still_calibrates(tmp_path):
    (tmp_path / "r.safetensors").write_bytes(zlib.decompress(base64.b85decode(FORMAT_1)))
    one = from_file(str(tmp_path / "r.safetensors"))[2]
    assert one.training.paths == ("a.png", "b.png", "c.png", "d.png")
    (distance_N,) = one.distances
    assert distance_N == pytest.approx([1.35118042, 1.21752286, 0.8452365])
    features = [np.zeros((3, 7)), np.array([[1.0, 0.1], [1.0, 0.3], [1.0, 0.8]])]  # this version looks at more layers
    assert (Calibrated.of([one]).familiarity.relative_distance([features]) > 0.5).all()


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


def test_a_mean_of_trials_flags_at_most_one_in_twenty():
    references = [reference(seed) for seed in range(3)]
    assert all((one.distance_N > 1).sum() in (1, 2) for one in references), "either layer may flag an image"
    familiarity = Calibrated.of(references).familiarity
    mean_N = np.mean([one.distance_N for one in references], axis=0)
    assert (familiarity.relative(mean_N) > 1).sum() == 1, "of 40; with two, 7% of new images would be expected"
