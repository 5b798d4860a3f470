"""What is often found where a file should be: a pointer to it, or the page of a download that failed."""

from __future__ import annotations


def what_else(start: bytes) -> str:
    """Say what a file is by its first bytes, with the cure; empty where it is neither."""
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS: `git lfs pull` fetches the file"
    if start[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page, perhaps of a download that failed: fetch the file again"
    return ""
