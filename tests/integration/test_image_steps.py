"""The steps that make the image, run in a folder of their own: what is locked is enough, and nothing that builds stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import in_ci
from tests.tidy.tree import ROOT

SOURCES = ("requirements.lock", "pyproject.toml", "README.md", "LICENSE", "services")
NO_INDEX = (
    "Could not find a version",
    "No matching distribution",
    "connection error",
    "Max retries",
    "Temporary failure",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the Dockerfile copies."""
    folder = tmp_path / "checkout"
    (folder / "deploy").mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "build.sh", folder / "deploy")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    return folder


def step(checkout: Path, name: str, target: Path) -> None:
    """One step of the script; skipped where no package index can be reached, which is a failure in CI."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHON": sys.executable}
    environment |= {
        name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")
    }
    done = subprocess.run(
        ["deploy/build.sh", name, str(target)], cwd=checkout, env=environment, capture_output=True, text=True, timeout=400, check=False
    )  # fmt: skip
    if (
        done.returncode
        and any(sign in done.stderr for sign in NO_INDEX)
        and "hashes" not in done.stderr
        and not in_ci()
    ):
        pytest.skip(f"no package index can be reached: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr[-3_000:]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """In another folder, without anything of this environment."""
    return subprocess.run(
        command, cwd=folder, env={"PATH": ""}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.campaign
def test_the_steps_make_a_program_that_runs_and_leave_no_tools(checkout: Path, tmp_path: Path) -> None:
    target = tmp_path / "opt"
    step(checkout, "dependencies", target)
    step(checkout, "program", target)
    program = [str(target / "bin" / "ringfence")]
    told = run([*program, "version"], tmp_path)
    assert (told.returncode, told.stdout) == (0, "0.1.0\n"), told.stderr
    refused = run([*program, "liquidator"], tmp_path)
    assert refused.returncode == 2
    assert "kafka.bootstrap is not set" in refused.stderr
    installed = {
        path.name.lower() for path in next((target / "lib").glob("python3*")).joinpath("site-packages").iterdir()
    }
    assert not {"pip", "setuptools", "wheel", "pytest", "mypy"} & installed
    assert not [path for path in (target / "bin").iterdir() if path.name.startswith(("pip", "wheel"))]
    assert {"services", "faust", "textual", "opentelemetry"} <= installed
    presets = next((target / "lib").glob("python3*/site-packages/services/presets/*.json"), None)
    assert presets is not None, "package data is part of the package"
