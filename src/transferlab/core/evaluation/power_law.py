"""A learning curve as a power law: the loss `a n^-b + c` after training on n images, and how sure it is.

Power laws fit many learning curves (Viering and Loog 2023, IEEE TPAMI 45); `c` is what no number of images takes away.
Values come from several draws of training images and from one set of test images. What makes them uncertain is
modelled as a sum: the luck of a training sample, of which nested parts share some; seeds; and the test images, which
every size has in common.

Shapes: K sizes, D draws, U test images or groups, B samples of the curve, G grid of exponents, M numbers of images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
EXPONENTS_G = np.geomspace(0.1, 2.0, 48)
SAMPLES = 1_000
# By which power of `1/n - 1/N` a training sample's luck varies. Parameters vary by the first power, as means of samples
# without replacement do (Cochran 1977, "Sampling Techniques", section 2.6). An image changes sides when the boundary
# passes it, and as many do as it moves far: by the square root. On few test images that is most of the variance.
ROUGHNESS = 0.5
# Of the median variance between draws: a size whose draws happen to agree is not taken for certain.
_LEAST_SEED_SHARE = 0.02


@dataclass(frozen=True)
class PowerLaws:
    """Curves `a (n / unit)^-b + c`, one for each sample.

    Attributes:
        a_B: the part of the loss that images can still take away, at `unit` images.
        b_B: how fast it goes.
        c_B: what no number of images takes away.
        unit: a number of training images.
    """

    a_B: Floats
    b_B: Floats
    c_B: Floats
    unit: float

    def at(self, images_M: Floats) -> Floats:
        """Return the losses (B, M) after training on so many images."""
        losses: Floats = self.a_B[:, None] * (images_M / self.unit) ** -self.b_B[:, None] + self.c_B[:, None]
        return losses


def fit(images_K: Floats, loss_BK: Floats, weight_K: Floats) -> PowerLaws:
    """Fit curves by weighted least squares, with a and c at least 0 and b on a grid.

    Args:
        images_K: how many images were trained on.
        loss_BK: losses at least 0, for each sample.
        weight_K: one over the variance of each size's loss.
    """
    unit = float(images_K.max())
    x_GK = (images_K / unit) ** -EXPONENTS_G[:, None]
    share_K = weight_K / weight_K.sum()
    mean_G, mean_B = x_GK @ share_K, loss_BK @ share_K
    x_off_GK, loss_off_BK = x_GK - mean_G[:, None], loss_BK - mean_B[:, None]
    a_BG = np.maximum((loss_off_BK * share_K) @ x_off_GK.T / (x_off_GK**2 @ share_K), 0.0)
    c_BG = mean_B[:, None] - a_BG * mean_G
    through_zero_BG = (loss_BK * share_K) @ x_GK.T / (x_GK**2 @ share_K)
    a_BG, c_BG = np.where(c_BG < 0, through_zero_BG, a_BG), np.maximum(c_BG, 0.0)
    error_BGK = a_BG[:, :, None] * x_GK + c_BG[:, :, None] - loss_BK[:, None]
    best_B = (error_BGK**2 @ share_K).argmin(axis=1)
    rows = np.arange(len(loss_BK))
    return PowerLaws(a_BG[rows, best_B], EXPONENTS_G[best_B], c_BG[rows, best_B], unit)


@dataclass(frozen=True)
class DrawNoise:
    """How much one training's mean loss varies, apart from test images.

    Attributes:
        seed: variance between trainings on the same images.
        sample: variance between independent training samples, times their number of images to the power `ROUGHNESS`.
        total: all training images there are, of which the parts are drawn.
    """

    seed: float
    sample: float
    total: float

    @classmethod
    def of(cls, images_K: Floats, loss_KD: Floats) -> DrawNoise:
        """Estimate both from the variances between draws, which shrink as parts share more of the images.

        Parts of n of N images vary by `seed + sample (1/n - 1/N)^ROUGHNESS`.
        """
        from scipy.optimize import nnls  # takes a second to load, which a run need not wait for before it trains

        variance_K, terms_K2 = loss_KD.var(axis=1, ddof=1), _terms(images_K)
        weight_K = np.ones(len(images_K))
        for _ in range(2):  # then by the variances that the first fit expects
            (seed, sample), _ = nnls(terms_K2 * weight_K[:, None], variance_K * weight_K)
            weight_K = _weights(terms_K2 @ np.array([seed, sample]))
        least = max(_LEAST_SEED_SHARE * float(np.median(variance_K)), 1e-9)
        return cls(max(seed, least), sample, float(images_K.max()))

    def of_means(self, images_K: Floats, draws: int) -> Floats:
        """Return the covariances (K, K) of the mean losses over draws, given which images there are.

        As a part grows, its loss goes a fractional Brownian motion in `1/n` (Mandelbrot and Van Ness 1968).
        """
        to_all_K = (1 / images_K - 1 / self.total) ** ROUGHNESS
        apart_KK = np.abs(1 / images_K[:, None] - 1 / images_K) ** ROUGHNESS
        nested_KK = self.sample * (to_all_K[:, None] + to_all_K - apart_KK) / 2
        covariances: Floats = (nested_KK + self.seed * np.eye(len(images_K))) / draws
        return covariances

    def of_all(self) -> float:
        """Return the variance of the loss by which images there happen to be."""
        return float(self.sample / self.total**ROUGHNESS)

    def of_doubling(self) -> float:
        """Return the variance of a doubling of the images, by which they and the seeds happen to be."""
        return float(self.sample * self._doubled + 2 * self.seed)

    @property
    def _doubled(self) -> float:
        return float((2 * self.total) ** -ROUGHNESS)

    def freedom(self, images_K: Floats, draws: int) -> float:
        """Return the degrees of freedom that the variance of a doubling is known by (Satterthwaite 1946).

        It was estimated as a weighted sum of the variances between draws. Those of nested parts have much in common,
        and all images together are the same in every draw, so there are fewer than independent draws would give.
        """
        covariance_KK, terms_K2 = self.of_means(images_K, 1), _terms(images_K)
        weight_K = _weights(np.diagonal(covariance_KK))
        share_K = np.array([2, self._doubled]) @ (np.linalg.pinv(terms_K2 * weight_K[:, None]) * weight_K)
        return float((draws - 1) * self.of_doubling() ** 2 / (share_K @ covariance_KK**2 @ share_K))


def _terms(images_K: Floats) -> Floats:
    """Return what the variance of seeds and that of a training sample are multiplied by, (K, 2)."""
    return np.stack([np.ones(len(images_K)), (1 / images_K - 1 / images_K.max()) ** ROUGHNESS], axis=1)


def _weights(variance_K: Floats) -> Floats:
    """Return the weight of each size's variance, whose own standard error goes with it."""
    weight_K: Floats = 1 / np.maximum(variance_K, max(0.05 * float(variance_K.max()), 1e-12))
    return weight_K


@dataclass(frozen=True)
class Extrapolation:
    """A fitted curve, and curves that the data would also allow.

    Attributes:
        expected: the one fitted to the means.
        samples: those fitted to means that are drawn anew, with other test images, training images and seeds.
        luck_B: what a doubling of the images brings beyond the expected, by which images and seeds it happens to be.
    """

    expected: PowerLaws
    samples: PowerLaws
    luck_B: Floats

    @classmethod
    def of(cls, images_K: Floats, loss_KDU: Floats, seed: int = 0) -> Extrapolation:
        """Fit a curve, and one to each of `SAMPLES` parametric bootstrap samples.

        Test images are drawn by random weights (Rubin 1981), the same for every curve with this seed and these images.
        The means over draws get normal noise with the covariances of `DrawNoise`, and the luck that the whole training
        sample has; both are widened as Student's t is for the degrees of freedom they are known by.
        """
        rng, draws = np.random.default_rng(seed), loss_KDU.shape[1]
        mean_KU = loss_KDU.mean(axis=1)
        weight_BU = rng.standard_exponential((SAMPLES, mean_KU.shape[1]))
        weight_BU /= weight_BU.sum(axis=1, keepdims=True)
        noise = DrawNoise.of(images_K, loss_KDU.mean(axis=2))
        covariance_KK = noise.of_means(images_K, draws)
        drawn_BK = rng.multivariate_normal(np.zeros(len(images_K)), covariance_KK, SAMPLES, method="eigh")
        luck_B1 = np.sqrt(noise.of_all()) * rng.standard_normal((SAMPLES, 1))
        freedom = noise.freedom(images_K, draws)
        widening_B1 = np.sqrt(freedom / rng.chisquare(freedom, (SAMPLES, 1)))
        loss_BK = np.maximum(weight_BU @ mean_KU.T + widening_B1 * (drawn_BK + luck_B1), 0.0)
        weight_K = 1 / np.diagonal(covariance_KK)
        luck_B = widening_B1[:, 0] * np.sqrt(noise.of_doubling()) * rng.standard_normal(SAMPLES)
        expected = fit(images_K, mean_KU.mean(axis=1)[None], weight_K)
        return cls(expected, fit(images_K, loss_BK, weight_K), luck_B)
