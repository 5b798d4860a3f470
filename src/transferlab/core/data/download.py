"""Fetch one file and verify it, from a mirror first; nothing unverified is ever kept under its own name."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlparse
from urllib.request import url2pathname

from transferlab.core.errors import MendableError
from transferlab.core.files.atomic import whole_file
from transferlab.core.files.folders import sweep
from transferlab.core.files.hashing import sha256_of, sha256_of_stream
from transferlab.core.files.remote import EXTRAS, Remote, RemoteError

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

ProgressReport = Callable[[int, int], None]

MIRROR_VARIABLE = "TRANSFERLAB_MIRROR"
ATTEMPTS = 4
FIRST_WAIT_SECONDS = 1.0
CHUNK_BYTES = 1 << 16
TIMEOUT_SECONDS = 30.0  # of silence; a download that is slow but goes on may take as long as it likes


class SourceError(MendableError):
    """The images cannot be had: the message names the setting, what was tried and the cure."""


@dataclass(frozen=True)
class Downloads:
    """The folder that keeps downloaded files, and where else to look before a file is downloaded.

    Attributes:
        folder: where downloads are kept.
        mirror: folders or base URLs; those of the environment variable TRANSFERLAB_MIRROR come after them.
        report: called as `report(done_bytes, total_bytes)` while a file is downloaded; the total is 0 where the server
            does not tell it.
    """

    folder: Path
    mirror: Sequence[str] = ()
    report: ProgressReport | None = None

    def fetch(self, url: str, hashes: Sequence[str], filename: str) -> Path:
        """Return a local file with one of the accepted SHA-256 `hashes`; none accept any content.

        Look in the folder, then for `filename` in each mirror, then at `url`. Local files are used where they are.

        Raises:
            SourceError: no place has it, or what they have is something else; the message lists every place tried.
        """
        kept = self.folder / filename
        if kept.is_file():
            return _verified(kept, hashes, cure=f"Delete {kept} to fetch it again, or correct dataset.source.sha256.")
        found, failures = self._first([*_in_mirrors(filename, self.mirror), url], hashes, kept)
        if found is not None:
            return found
        raise SourceError(
            f"dataset.source: {filename} cannot be had. Tried:\n"
            + "".join(f"  {failure}\n" for failure in failures)
            + f"Get {url} on a machine that can, and put it at {kept.absolute()}, or in a folder that the setting "
            f"dataset.mirror (or the environment variable {MIRROR_VARIABLE}) names."
        )

    def fetch_from_mirror(self, filename: str, hashes: Sequence[str]) -> Path | None:
        """Return the verified file if a mirror has it, else None: for a file that has no URL of its own."""
        places, kept = _in_mirrors(filename, self.mirror), self.folder / filename
        if places and kept.is_file():
            return _verified(kept, hashes, cure=f"Delete {kept} to fetch it again.")
        found, failures = self._first(places, hashes, kept)
        if found is None:
            for failure in failures:
                logger.info("%s", failure)
        return found

    def _first(self, places: Sequence[str], hashes: Sequence[str], kept: Path) -> tuple[Path | None, list[str]]:
        """Return the verified file of the first place that has it, warning of every place before; or what was wrong."""
        failures: list[str] = []
        for place in places:
            try:
                found = self._from_place(place, hashes, kept)
            except (SourceError, RemoteError, OSError) as error:
                failures.append(f"{place}: {error}")
            else:
                for failure in failures:
                    logger.warning("%s", failure)
                return found, failures
        return None, failures

    def _from_place(self, place: str, hashes: Sequence[str], kept: Path) -> Path:
        """Return the verified file of one place: a local one as it is, a remote one downloaded to `kept`."""
        if urlparse(place).scheme in {"http", "https", *EXTRAS}:
            return _download(place, hashes, kept, self.report)
        local = Path(url2pathname(urlparse(place).path) if place.startswith("file:") else place).expanduser()
        if not local.is_file():
            raise SourceError("no such file")
        return _verified(local, hashes)


def _in_mirrors(filename: str, mirror: Sequence[str]) -> list[str]:
    """Return where each mirror would have the file."""
    # A colon may also belong to a base URL in the list: before its //, or before a port.
    separator = re.escape(os.pathsep) + r"(?!//|\d+(?:/|$))"
    from_environment = [entry for entry in re.split(separator, os.environ.get(MIRROR_VARIABLE, "")) if entry]
    return [f"{str(base).rstrip('/')}/{filename}" for base in [*mirror, *from_environment]]


def _verified(path: Path, hashes: Sequence[str], cure: str = "") -> Path:
    _check_hash(path.name, sha256_of(path), hashes, cure)
    return path


def _check_hash(name: str, found: str, accepted: Sequence[str], cure: str = "") -> None:
    if accepted and found not in accepted:
        expected = " or ".join(accepted)
        raise SourceError(f"{name} has another content: its sha256 is {found}, expected {expected}. {cure}".rstrip())


def _download(url: str, hashes: Sequence[str], kept: Path, report: ProgressReport | None) -> Path:
    """Download to a temporary file beside `kept`; it gets that name when it is whole and verified."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    sweep(kept.parent)
    with whole_file(kept) as file:
        logger.info("downloading %s", url)
        if urlparse(url).scheme in EXTRAS:
            Remote(url).copy_to(file)
        else:
            _download_with_retries(url, file, report)
        file.flush()
        with open(file.fileno(), "rb", closefd=False) as downloaded:
            downloaded.seek(0)
            _check_hash(kept.name, sha256_of_stream(downloaded), hashes)
    return kept


def _download_with_retries(url: str, file: BinaryIO, report: ProgressReport | None) -> None:
    """Download `url` into the open `file`; after a broken connection continue where it broke, if the server can."""
    import requests

    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _download_rest(url, file, report)
        except requests.HTTPError as error:
            if not _worth_another_attempt(error.response):
                raise SourceError(f"the server answered: {error}") from error
            failure: requests.RequestException = error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            failure = error
        if attempt < ATTEMPTS:
            logger.warning("%s: %s; trying again (%d of %d)", url, _reason(failure), attempt + 1, ATTEMPTS)
            time.sleep(FIRST_WAIT_SECONDS * 2 ** (attempt - 1))
    raise SourceError(f"{ATTEMPTS} attempts failed, the last with: {_reason(failure)}") from failure


def _reason(error: Exception) -> str:
    """Say what went wrong, in urllib3's words alone if it had the last word."""
    inner = error.args[0] if error.args else error
    return re.sub(r"^\w+\([^)]*\): ", "", str(getattr(inner, "reason", None) or error))


def _worth_another_attempt(answer: requests.Response | None) -> bool:
    """Tell whether asking again may help: after a server's own errors, "request timeout" and "too many requests"."""
    return answer is None or answer.status_code >= 500 or answer.status_code in {408, 429}


def _download_rest(url: str, file: BinaryIO, report: ProgressReport | None) -> None:
    """Ask for what `file` lacks (HTTP range request, RFC 9110 section 14) and append it.

    A server that knows no ranges answers 200 with the whole file; then what was there is dropped.
    """
    import requests

    start = file.seek(0, os.SEEK_END)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        response.raise_for_status()
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            start = file.seek(0)
            file.truncate()
        total = start + int(response.headers.get("Content-Length", 0))
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            if report is not None:
                report(file.tell(), total)
