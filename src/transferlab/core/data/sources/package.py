"""Images that an installed Python package ships."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from transferlab.core.data.download import Downloads, SourceError
from transferlab.core.data.sources.base import Acquired
from transferlab.core.files.packages import package_folders
from transferlab.core.files.paths import stays_inside
from transferlab.core.validation import check


@dataclass(frozen=True, kw_only=True)
class PackageSource:
    """A data folder inside an installed package. The package is found, never imported: its code does not run.

    Attributes:
        name: the kind of source.
        package: the package's import name, such as `elpv_dataset`.
        folder: the folder with the data, relative to the package's own folder.
        distribution: what to install when it is missing; by default the import name with dashes.
    """

    name: Literal["package"] = "package"
    package: str
    folder: str = "."
    distribution: str | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        check(
            (self.package.isidentifier(), "package", self.package, "must be a package's import name, without dots"),
            (stays_inside(self.folder), "folder", self.folder, "must be a relative path inside the package"),
        )

    def acquire(self, downloads: Downloads) -> Acquired:
        """Return the data folder; nothing is downloaded or copied.

        Raises:
            SourceError: the package is not installed, or has no such folder.
        """
        folders = package_folders(self.package)
        if not folders:
            distribution = self.distribution or self.package.replace("_", "-")
            raise SourceError(
                f"dataset.source.package: {self.package!r} is not installed in this environment; "
                f"install it with: pip install {distribution}"
            )
        for folder in folders:
            if (folder / self.folder).is_dir():
                return Acquired(folder / self.folder)
        raise SourceError(
            f"dataset.source.folder: the installed package {self.package!r} has no folder {self.folder!r}; "
            f"it was looked for below {', '.join(map(str, folders))}"
        )
