"""The image stores of an experiment: a list of the folders that hold them, one per resize."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from kedro.io import DatasetError
from kedro_datasets._typing import JSONPreview

from transferlab.core.data.store import ImageStore, StoreError
from transferlab.datasets.atomic import WholeFile
from transferlab.datasets.document import checked


class ImageStoresDataset(WholeFile[Mapping[str, ImageStore], dict[str, ImageStore]]):
    """Image stores by the key of their resize. Their folders lie beside the list and are named after their content."""

    def write(self, data: Mapping[str, ImageStore], file: BinaryIO) -> None:
        """Write the list."""
        file.write(json.dumps({key: store.folder.name for key, store in data.items()}, indent=2).encode())

    def read(self, path: Path) -> dict[str, ImageStore]:
        """Open the stores.

        Raises:
            DatasetError: a store of the list is gone, damaged, or another than the list says.
            ValueError: the file is no list of stores.
        """
        stores = {
            key: ImageStore(path.parent / name)
            for key, name in checked(dict[str, str], json.loads(path.read_text(encoding="utf-8"))).items()
        }
        try:
            for key, store in stores.items():
                store.verify()
                if store.resize.key != key:
                    raise StoreError(f"{path} names {store.folder.name} as the store of {key}, which it is not")
        except StoreError as error:
            raise DatasetError(f"{error}; make it again with `kedro run --nodes=data.decode_images`") from None
        return stores

    def preview(self) -> JSONPreview:
        """Show the number of images and the megabytes of each store in Kedro-Viz."""
        return JSONPreview(
            json.dumps(
                {
                    key: {
                        "images": len(store),
                        "megabytes": round(int(3 * store.shapes_N2.prod(axis=1).sum()) / 1e6, 1),
                    }
                    for key, store in self.load().items()
                }
            )
        )
