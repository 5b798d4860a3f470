"""How near are exports to torch? `python -m benchmarks.export --data hymenoptera_data.zip`.

Exports a network of each of five families, as ONNX and by torch.export, with pretrained weights where a package ships
them and random ones else, and compares it with torch on photographs, at batches of 1, 7 and 64.

Writes `export.json`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, get_args

from benchmarks import ours, recipes, result
from transferlab.core.inference.export.deployed import Photograph
from transferlab.core.inference.export.graphs import FORMATS, Kind
from transferlab.core.inference.export.write import Export, export
from transferlab.core.models import factory
from transferlab.core.models.backbones.model import Model

FAMILIES = {
    "ConvNet": recipes.CONVNET,
    "EfficientNet-Lite0": recipes.BACKBONES["efficientnet_lite0"],
    "ResNet-18": recipes.BACKBONES["resnet18"],
    "ViT": Model(name="timm/vit_tiny_patch16_224"),
    "ConvNeXt": Model(name="timm/convnext_atto"),
}


def measured(model: Model, kind: Kind, photographs: list[Photograph], folder: Path) -> dict[str, Any]:
    """Export a network and say how near it is."""
    checkpoint = factory.initial(model, recipes.INPUT, ["ants", "bees"], IMAGENET, 0)
    out = folder / f"{model.name.replace('/', '_')}_{kind}"
    found = export(checkpoint, photographs, out, Export(kind=kind))["compared_with_torch"]
    return {**found, "bytes": (out / FORMATS[kind].file).stat().st_size}


IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def table(report: dict[str, Any]) -> result.Table:
    """Make a row for each family."""
    rows = [
        [
            name,
            *(text for kind in get_args(Kind) for text in _told(of_kinds[kind])),
        ]
        for name, of_kinds in report["families"].items()
    ]
    columns = ["network", "ONNX: largest difference", "size", "torch.export: largest difference", "size"]
    images = next(iter(report["families"].values()))["onnx"]["images"]
    note = f"Of a probability, on {images} photographs at batches of 1, 7 and 64. {result.made_on(report)}"
    return result.Table("How near exports are to torch", columns, rows, note)


def _told(found: dict[str, Any]) -> tuple[str, str]:
    return f"{found['largest_difference']:.1g}", f"{found['bytes'] / 1e6:.1f} MB"


def main() -> None:
    """Measure every family."""
    parser = result.options(__doc__.partition(":")[0], data=True)
    parser.add_argument("--images", type=int, default=40, help="of each class of each part")
    wanted = result.parse(parser, images=2)
    families: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = ours.images(wanted.data, Path(folder) / "images", wanted.images)
        photographs = [Photograph(file) for file in sorted(root.glob("val/*/*.jpg"))]
        for name, model in FAMILIES.items():
            families[name] = {kind: measured(model, kind, photographs, Path(folder)) for kind in get_args(Kind)}
    table(result.write("export", wanted, {"families": families})).show()


if __name__ == "__main__":
    main()
