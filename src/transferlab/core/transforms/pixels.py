"""Holds the pixels of images, in host memory or on the device, and puts some of them onto one canvas.

Shapes: N images, each of its own height and width; H W px of the largest; P pixels of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferlab.core.data.store import ImageStore
from transferlab.core.runtime.device import upload

ImageArray = NDArray[np.uint8]
UPLOAD_BYTES = 64 << 20  # of pixels in one copy to a device: the host may have less memory than the device


class Pixels(Protocol):
    """uint8 RGB images of different sizes; on a GPU, where they are held does not change a bit of what they become."""

    @property
    def shape_N2(self) -> NDArray[np.int64]:
        """Heights and widths, on the host."""
        ...

    def take(self, rows: Tensor) -> Pixels:
        """Take some of them, by their numbers (int64 on the CPU), in that order."""
        ...

    def canvas(self) -> Tensor:
        """Put all on one canvas (N, H, W, 3), uint8 on the device: at the top left, their last pixels repeated beside.

        So what is sampled at an image's edge does not depend on the images beside it.
        """
        ...


@dataclass(frozen=True)
class HostImages:
    """Holds arrays image_HWC in host memory, for use on a device."""

    images: Sequence[ImageArray]
    device: torch.device

    @property
    def shape_N2(self) -> NDArray[np.int64]:
        """See `Pixels`."""
        return np.array([image.shape[:2] for image in self.images])

    def take(self, rows: Tensor) -> HostImages:
        """See `Pixels`."""
        return HostImages([self.images[row] for row in rows], self.device)

    def canvas(self) -> Tensor:
        """See `Pixels`."""
        return upload(torch.from_numpy(self._canvas()), self.device)

    def _canvas(self) -> ImageArray:
        shape_N2 = self.shape_N2
        height, width = shape_N2.max(axis=0)
        if (shape_N2 == (height, width)).all():
            return np.stack(self.images)
        canvas_NHW3 = np.empty((len(self.images), height, width, 3), dtype=np.uint8)
        for slot, image in zip(canvas_NHW3, self.images, strict=True):
            slot[: image.shape[0], : image.shape[1]] = image
            slot[: image.shape[0], image.shape[1] :] = image[:, -1:]
            slot[image.shape[0] :] = slot[image.shape[0] - 1]
        return canvas_NHW3


@dataclass(frozen=True)
class ResidentImages:
    """Holds images in the device's memory.

    Attributes:
        flat_P3: the pixels of one image after the other, uint8 on the device.
        start_N: the place of each image's first pixel there, int64 on the host.
        shape_N2: see `Pixels`.
    """

    flat_P3: Tensor
    start_N: NDArray[np.int64]
    shape_N2: NDArray[np.int64]

    @classmethod
    def of(cls, store: ImageStore, rows: NDArray[np.int64], device: torch.device) -> ResidentImages:
        """Upload rows of a store."""
        shape_N2 = store.shapes_N2[rows]
        ends_N = shape_N2.prod(axis=1).cumsum()
        flat_P3 = torch.empty(int(ends_N[-1]), 3, dtype=torch.uint8, device=device)
        starts_N = np.concatenate([[0], ends_N[:-1]])
        part_N = 3 * ends_N // UPLOAD_BYTES
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(part_N)) + 1):
            pixels_P3 = np.concatenate([store[row].reshape(-1, 3) for row in rows[part]])
            flat_P3[starts_N[part[0]] : ends_N[part[-1]]] = torch.from_numpy(pixels_P3)
        return cls(flat_P3, starts_N, shape_N2)

    def take(self, rows: Tensor) -> ResidentImages:
        """See `Pixels`; no pixel is copied."""
        return ResidentImages(self.flat_P3, self.start_N[rows.numpy()], self.shape_N2[rows.numpy()])

    def canvas(self) -> Tensor:
        """See `Pixels`; one gather, for which three numbers per image are sent to the device."""
        device = self.flat_P3.device
        height, width = self.shape_N2.max(axis=0).tolist()
        table_N3 = upload(torch.from_numpy(np.column_stack([self.start_N, self.shape_N2])), device)
        start_N11, height_N11, width_N11 = table_N3[:, :, None, None].unbind(dim=1)
        y_H1, x_W = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
        y_NH1, x_N1W = torch.minimum(y_H1, height_N11 - 1), torch.minimum(x_W, width_N11 - 1)
        return self.flat_P3[start_N11 + y_NH1 * width_N11 + x_N1W]
