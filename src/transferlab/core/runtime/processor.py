"""The processor's name."""

from __future__ import annotations

import platform
import re
from pathlib import Path


def processor() -> str:
    """Return the name of this machine's processor, such as `AMD EPYC 9B14`."""
    cpuinfo = Path("/proc/cpuinfo")  # on Linux, platform.processor() is the architecture alone
    found = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.is_file() else None
    return found[1].strip() if found else platform.processor() or platform.machine()
