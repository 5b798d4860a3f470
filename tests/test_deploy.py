"""The files in deploy/ are well formed, and name options, extras and files that exist."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from transferlab.core.runtime.compute import Compute

PROJECT = Path(__file__).parents[1]
DEPLOY = PROJECT / "deploy"
EXTRAS = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")


def compute_of(text: str) -> Compute:
    """The compute settings that a command's --params give."""
    given = re.findall(r"training\.compute\.(\w+)=([^\s,\"']+)", text)
    return Compute(**{key: value.replace("$address:$port", "10.0.0.1:6379") for key, value in given})


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, a line each, and what follows them."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_slurm_script_is_bash_and_starts_ray_trials():
    script = DEPLOY / "slurm.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text(encoding="utf-8")
    assert compute_of(text) == Compute(launcher="ray", address="10.0.0.1:6379")
    options = re.findall(r"^#SBATCH (--[a-z-]+)=(\S+)$", text, re.MULTILINE)
    assert {"--nodes", "--cpus-per-task", "--gpus-per-task", "--signal"} <= {name for name, _ in options}
    first_command = next(line for line in text.splitlines() if line and not line.startswith("#"))
    assert text.index("#SBATCH --signal") < text.index(first_command), "Slurm reads no options after it"


def test_the_kubernetes_job_starts_ray_trials_on_the_image():
    job = yaml.safe_load((DEPLOY / "kuberay.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert compute_of(job["spec"]["entrypoint"]) == Compute(launcher="ray", address="auto")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == "transferlab:latest"
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert container["volumeMounts"][0]["mountPath"] == container["workingDir"], "the same path on all nodes"


def test_the_image_copies_what_is_there_and_installs_extras_that_exist():
    found = instructions()
    assert {name for name, _ in found} <= {"ARG", "FROM", "ENV", "RUN", "COPY", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert found[0] == ("ARG", "BASE=ubuntu:24.04"), "an argument of FROM stands before it"
    copied = [shlex.split(what)[:-1] for name, what in found if name == "COPY" and not what.startswith("--from")]
    assert all((PROJECT / path).exists() for paths in copied for path in paths)
    (extras,) = [what.removeprefix("EXTRAS=") for name, what in found if what.startswith("EXTRAS=")]
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", EXTRAS, re.MULTILINE)
    assert ("ENTRYPOINT", '["python", "-m", "transferlab"]') in found
