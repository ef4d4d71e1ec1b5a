"""Every test can fail: it asserts, expects a raise, or calls a helper whose name says that it checks."""

from __future__ import annotations

import ast

import pytest

from tests.tidy.tree import FUNCTIONS, parse, python_files, where

CHECKERS = ("check_", "assert_")
EXPECTATIONS = {"raises", "warns", "fail"}


def can_fail(test: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and checks(node.func)) for node in ast.walk(test)
    )


def checks(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in EXPECTATIONS or name.startswith(CHECKERS)


def powerless_tests(tree: ast.Module) -> list[tuple[int, str]]:
    return [
        (node.lineno, node.name)
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS) and node.name.startswith("test") and not can_fail(node)
    ]


def test_every_test_can_fail() -> None:
    found = [
        f"{where(path, line)} {name}"
        for path in python_files("tests")
        if path.name.startswith("test_")
        for line, name in powerless_tests(parse(path))
    ]
    assert not found, "\n".join(found)


def test_a_seeded_test_without_assertion_is_caught() -> None:
    assert powerless_tests(ast.parse("async def test_it():\n    await run()\n")) == [(1, "test_it")]


@pytest.mark.parametrize("line", ["assert x", "check_rows(x)", "with pytest.raises(E): f()", "self.assert_same(x)"])
def test_what_counts_as_a_check(line: str) -> None:
    assert not powerless_tests(ast.parse(f"def test_it():\n    {line}\n"))
