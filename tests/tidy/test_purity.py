"""The engine and the reference take events and give effects: nothing in them can reach the outside."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.tidy.tree import imports_of, package_of, parse, python_files, where

PURE = ("services/engine", "services/reference", "services/order_gate")
THIRD_PARTY = {"numpy", "msgspec"}
FORBIDDEN_STANDARD = {
    "asyncio", "builtins", "concurrent", "ctypes", "datetime", "faulthandler", "glob", "http", "importlib", "io", "locale", "logging",
    "mmap", "multiprocessing", "os", "pathlib", "platform", "random", "sched", "secrets", "select", "selectors", "shelve", "shutil",
    "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "urllib", "uuid", "zoneinfo",
}  # fmt: skip
FORBIDDEN_CALLS = {"open", "print", "input", "eval", "exec", "compile", "__import__", "breakpoint"}


def impurities(tree: ast.Module, package: str) -> list[tuple[int, str]]:
    """Line and name of everything in `tree` that a pure module may not use."""
    found = [(line, f"import {name}") for name, line in imports_of(tree, package) if not may_import(name)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            found.append((node.lineno, f"{node.func.id}()"))
        if isinstance(node, ast.Attribute) and node.attr == "random" and isinstance(node.value, ast.Name):
            found.append((node.lineno, f"{node.value.id}.random"))
    return found


def may_import(name: str) -> bool:
    top = name.partition(".")[0]
    if top == "services":
        return name == "services" or name.startswith(
            ("services.contracts", "services.engine", "services.reference", "services.order_gate")
        )
    return top in THIRD_PARTY or (top in sys.stdlib_module_names and top not in FORBIDDEN_STANDARD)


def test_engine_and_reference_are_pure() -> None:
    found = [
        f"{where(path, line)} {what}"
        for path in python_files(*PURE)
        for line, what in impurities(parse(path), package_of(path))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "seeded",
    [
        "import time",
        "import asyncio.events",
        "from os import path",
        "from services.adapters import metrics",
        "from ..adapters import metrics",
        "from .. import adapters",
        "import redis",
        "import numpy as np\nx = np.random",
        "def f():\n    print(1)",
    ],
)
def test_a_seeded_impurity_is_caught(seeded: str) -> None:
    assert impurities(ast.parse(seeded), "services.engine")


@pytest.mark.parametrize(
    "allowed",
    [
        "import numpy as np",
        "from hashlib import blake2b",
        "from services.contracts import decimals",
        "from . import margin",
    ],
)
def test_what_a_pure_module_may_import(allowed: str) -> None:
    assert not impurities(ast.parse(allowed), "services.engine")


def test_only_the_composition_root_brings_engine_faust_and_redis_together() -> None:
    together = {"services.engine", "faust", "redis"}
    found = []
    for path in python_files("services"):
        names = {name for name, _ in imports_of(parse(path), package_of(path))}
        reached = {part for part in together if any(name == part or name.startswith(f"{part}.") for name in names)}
        if reached == together:
            found.append(where(path))
    assert set(found) <= {"services/liquidator/build.py"}
