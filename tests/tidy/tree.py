"""The files of the project, and what their syntax trees say."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def project_files() -> tuple[Path, ...]:
    """Every file that is, or would be, in version control; of an unpacked archive, every file outside dot folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    else:
        paths = [p for p in ROOT.rglob("*") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts[:-1])]
    return tuple(sorted(path for path in paths if path.is_file()))


def python_files(*folders: str) -> list[Path]:
    """The Python files below `folders` (of the root when none is named)."""
    below = [ROOT / folder for folder in folders] or [ROOT]
    return [p for p in project_files() if p.suffix == ".py" and any(p.is_relative_to(folder) for folder in below)]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def where(path: Path, line: int = 0) -> str:
    """`path` as a reader names it, with the line."""
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return f"{shown}:{line}" if line else str(shown)


def imports_of(tree: ast.Module, package: str) -> Iterator[tuple[str, int]]:
    """Absolute names of the imported modules, with lines. `package` is the one the module lives in.

    `from a import b` yields both `a` and `a.b`, since `b` may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield base, node.lineno
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def package_of(path: Path) -> str:
    """The dotted package that the module at `path` lives in."""
    return ".".join(path.relative_to(ROOT).parent.parts)
