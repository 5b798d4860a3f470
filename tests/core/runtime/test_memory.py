import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import sys

import torch

from transferlab.core.runtime.memory import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(30):  # until free memory of the right alignment has gathered
    torch.ones(16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16 << 20)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how):
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "THP_"))}
    ran = subprocess.run([sys.executable, "-c", PROGRAM, how], env=plain, capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told so")
def test_freed_memory_is_used_again_without_the_kernel():
    assert page_faults("kept") * 4 < page_faults("given back")
