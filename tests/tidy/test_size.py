"""What a reader can hold: functions under 70 lines, modules under 600, and a reason for each silenced check."""

from __future__ import annotations

import ast
import io
import re
import tokenize

import pytest

from tests.tidy.tree import FUNCTIONS, parse, python_files, where

FUNCTION_LINES = 70
MODULE_LINES = 600
# A directive with its codes, then whatever else the comment says.
SILENCED = re.compile(
    r"#\s*(?:noqa|type:\s*ignore)(?::\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*|\[[^\]]*\])?(?P<rest>.*)", re.IGNORECASE
)
REASON = re.compile(r"[a-z]{3}", re.IGNORECASE)


def long_functions(tree: ast.Module) -> list[tuple[int, str]]:
    return [
        (node.lineno, f"{node.name}: {length} lines")
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) >= FUNCTION_LINES
    ]


def silenced_without_reason(source: str) -> list[int]:
    """Lines of comments that silence a check and do not say why."""
    comments = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT]
    return [
        comment.start[0]
        for comment in comments
        if (match := SILENCED.search(comment.string)) and not REASON.search(match["rest"])
    ]


def test_functions_are_short() -> None:
    found = [f"{where(p, line)} {what}" for p in python_files() for line, what in long_functions(parse(p))]
    assert not found, "\n".join(found)


def test_modules_are_short() -> None:
    lengths = {where(path): len(path.read_text().splitlines()) for path in python_files()}
    found = {name: length for name, length in lengths.items() if length >= MODULE_LINES}
    assert not found


def test_every_silenced_check_has_a_reason() -> None:
    found = [where(path, line) for path in python_files() for line in silenced_without_reason(path.read_text())]
    assert not found, "\n".join(found)


def test_a_seeded_long_function_is_caught() -> None:
    assert long_functions(ast.parse("async def f():\n" + "    pass\n" * FUNCTION_LINES))
    assert not long_functions(ast.parse("def f():\n" + "    pass\n" * (FUNCTION_LINES - 2)))


@pytest.mark.parametrize(
    "directive", ["noqa: S310", "type: ignore[no-any-return]", "noqa", "noqa: S310, E402", "noqa: S310  #"]
)
def test_a_seeded_silence_without_reason_is_caught(directive: str) -> None:
    assert silenced_without_reason(f"x = 1  # {directive}\n") == [1]
    assert not silenced_without_reason(f"x = 1  # {directive}  # the file is ours\n")
