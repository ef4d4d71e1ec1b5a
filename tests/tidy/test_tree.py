"""The tree speaks of itself alone: no machine's paths, no registry's host, no recorded data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT, project_files, where

# `[.]` and `[/]` keep these patterns from matching themselves.
MACHINE_PATHS = re.compile(r"(?<![\w.$}])[/](?:work|root|tmp|Users|home[/]\w+)[/][\w.]")
REGISTRY_HOSTS = re.compile(
    r"\b(?:pypi[.]org|pythonhosted[.]org|repo1?[.]maven|registry[.]npmjs|proxy[.]golang|index[.]crates|crates[.]io|deb[.]debian)\b"
    r"|--(?:extra-)?index[-]url|--find[-]links"
)
DATA_SUFFIXES = {
    ".csv",
    ".parquet",
    ".feather",
    ".arrow",
    ".npy",
    ".npz",
    ".pkl",
    ".gz",
    ".zst",
    ".zip",
    ".db",
    ".sqlite",
}
LARGEST_BYTES = 1_000_000


def forbidden_words(text: str) -> list[tuple[int, str]]:
    """Line and text of each machine path or registry host."""
    return [
        (number, match[0])
        for number, line in enumerate(text.splitlines(), 1)
        for pattern in (MACHINE_PATHS, REGISTRY_HOSTS)
        for match in pattern.finditer(line)
    ]


def read_text(path: Path) -> str:
    """The text of a file; of a binary file, none."""
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode("utf-8", errors="replace")


def test_no_machine_path_and_no_registry_host() -> None:
    own = Path(__file__)
    found = [
        f"{where(path, line)} {what}"
        for path in project_files()
        if path != own
        for line, what in forbidden_words(read_text(path))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "seeded",
    [
        # Spelled in two parts, so that this file names none itself.
        "cd /" + "work/main",
        '"/' + 'root/.cache"',
        "see /" + "home/me/notes",
        "https://pypi" + ".org/simple",
        "--index" + "-url x",
        "/" + "tmp/jobs/1",
    ],
)
def test_a_seeded_machine_path_or_host_is_caught(seeded: str) -> None:
    assert forbidden_words(f"first\n{seeded}\n")[0][0] == 2


@pytest.mark.parametrize(
    "allowed", ["homework" + "/main", "https://example.org/" + "work/a", "tmpfs: /run", "$HOME/tmp/x"]
)
def test_what_is_no_machine_path(allowed: str) -> None:
    assert not forbidden_words(allowed)


def test_no_data_files() -> None:
    found = [where(path) for path in project_files() if DATA_SUFFIXES & set(path.suffixes)]
    assert not found


def test_no_large_files() -> None:
    found = {where(path): size for path in project_files() if (size := path.stat().st_size) > LARGEST_BYTES}
    assert not found


def test_shell_entry_points_are_executable() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
