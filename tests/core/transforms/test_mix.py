import numpy as np
import pytest
import torch
from scipy import stats

from transferlab.core.transforms import mix

N, SIZE = 3000, 16


def test_mixup_blends_all_pixels_by_a_share_of_the_beta_distribution():
    drawn = mix.draw(N, SIZE, 0.4, None, "seed", 0)
    assert stats.kstest(drawn.share.numpy(), stats.beta(0.4, 0.4).cdf).pvalue > 1e-3
    one, other = torch.rand(2, 3, 3, SIZE, SIZE).unbind()
    rows = torch.tensor([5, 1, 2])
    share = drawn.share[rows][:, None, None, None]
    assert torch.allclose(mix.mix(one, other, drawn.take(rows)), share * one + (1 - share) * other, atol=1e-6)


def test_cutmix_pastes_a_box_and_the_share_is_what_is_left():
    drawn = mix.draw(N, SIZE, None, 1.0, "seed", 0)
    rows = torch.arange(200)
    mixed = mix.mix(torch.ones(200, 3, SIZE, SIZE), torch.zeros(200, 3, SIZE, SIZE), drawn.take(rows))
    assert set(mixed.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), drawn.share[rows], atol=1e-6)
    assert 0.5 < drawn.share.mean() < 0.75  # boxes are cut at the border


def test_with_both_each_image_gets_one():
    drawn = mix.draw(N, SIZE, 0.4, 1.0, "seed", 0)
    is_cut = (drawn.box[:, 2:] > drawn.box[:, :2]).all(dim=1)
    assert (drawn.opacity[is_cut] == 1).all()
    assert stats.binomtest(int((drawn.opacity < 1).sum()), N, 0.5).pvalue > 1e-3


@pytest.mark.parametrize("alphas", [(0.2, None), (None, 1.0), (0.2, 1.0), (1e-3, 1e3)])
def test_draws_depend_on_the_key_alone_and_are_sane(alphas):
    one, again, other = (mix.draw(50, SIZE, *alphas, "key", epoch) for epoch in (0, 0, 1))
    for field in ("opacity", "box", "share"):
        assert torch.equal(getattr(one, field), getattr(again, field))
    assert not torch.equal(one.share, other.share)
    assert np.all((one.share.numpy() >= 0) & (one.share.numpy() <= 1))
    assert one.box.min() >= 0
    assert one.box.max() <= SIZE
