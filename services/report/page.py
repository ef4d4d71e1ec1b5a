"""The page: one HTML file with its styles, its scripts, its chart library and its data inside, and a policy that forbids every request.

Text of records is attacker-controlled. It reaches the page in two ways only: through jinja2 with autoescape, and as JSON in a
script element that is data, with every character escaped that could end it; scripts put it into the page as text, never as markup.
"""

import base64
import os
import tempfile
from collections.abc import Iterable
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from services.engine.settings import Settings, settings_id
from services.report.verdict import verdict

SCRIPTS: Final = ("uPlot.iife.min.js", "format.js", "charts.js", "tables.js", "account.js", "page.js")
STYLES: Final = ("uPlot.min.css", "page.css")
_IN_DATA: Final = {
    ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029",
}  # fmt: skip
_ENDS: Final = "</"


class Source(Struct, frozen=True, kw_only=True):
    """What was replayed. `size` and `sha256` are None where the bytes are not one file that can be read again."""

    name: str
    size: int | None = None
    sha256: str | None = None
    matching: str | None = None
    engine: str | None = None
    remark: str | None = None  # a sentence about this recording, told under the verdict
    details: dict[str, str] = {}  # what else is known of it, by name


class Variant(Struct, frozen=True, kw_only=True):
    """One run of a comparison: its name, what it changed, its summary line, and where its decisions first differ from the first run's.

    `notional` is what its orders amount to, by asset.
    """

    name: str
    summary: dict[str, Any]
    changes: dict[str, str] = {}
    notional: dict[str, str] | None = None
    first_ms: int | None = None
    first_difference: str | None = None


def source_of(
    path: str,
    *,
    matching: str | None = None,
    engine: str | None = None,
    remark: str | None = None,
    details: dict[str, str] | None = None,
) -> Source:
    """The identity of a recording at `path`; of standard input and of folders the content hash of the records alone says it."""
    file = Path(path)
    is_file = path != "-" and file.is_file()
    digest = None
    if is_file:
        with file.open("rb") as stream:
            digest = _digest(iter(lambda: stream.read(1 << 20), b""))
    return Source(
        name="standard input" if path == "-" else file.name, size=file.stat().st_size if is_file else None, sha256=digest,
        matching=matching, engine=engine, remark=remark, details=details or {},
    )  # fmt: skip


def changed_settings(settings: Settings) -> dict[str, str]:
    """What differs from the defaults."""
    default = Settings()
    fields = ((name, getattr(settings, name)) for name in settings.__struct_fields__)
    return {name: str(msgspec.to_builtins(value)) for name, value in fields if value != getattr(default, name)}


def render(
    payload: dict[str, Any],
    *,
    source: Source,
    settings: Settings,
    summary: dict[str, Any],
    variants: Iterable[Variant] = (),
    diff: dict[str, Any] | None = None,
) -> str:
    """The whole page, from what a `Collector` gathered and the summary line of the run.

    `diff`: what a comparison with the recorded orders found, as `counts` and lines of `findings`, each with `is_good`.
    """
    said = verdict(summary)
    compared = list(variants)
    data = payload | {"summary": summary, "variants": [msgspec.to_builtins(each) for each in compared], "diff": diff}
    scripts = [script_text(_asset(name)) for name in SCRIPTS]
    styles = "\n".join(_asset(name) for name in STYLES)
    return _environment().get_template("page.html.j2").render(
        verdict=said, source=source, summary=summary, settings_id=settings_id(settings),
        changed=changed_settings(settings), recording=payload["recording"], version=version("ringfence"),
        licence=_asset("uPlot.LICENSE.txt"), scripts=scripts, styles=Markup(styles), policy=_policy(scripts, styles),  # noqa: S704  # our own assets
        data=embedded(data), has_variants=len(compared) > 1, has_diff=diff is not None,
    )  # fmt: skip


def write_page(path: Path, page: str) -> None:
    """Writes the page whole or not at all; a link stays a link. Raises `OSError`."""
    path = path.resolve()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(page)
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def embedded(data: dict[str, Any]) -> Markup:
    """JSON that cannot end the element that it stands in, nor begin another."""
    return Markup(orjson.dumps(data).decode().translate(_IN_DATA))  # noqa: S704  # what could be markup was escaped


def script_text(source: str) -> Markup:
    """A script of ours for a script element. Such text is not escaped by HTML, so it must not hold an end tag."""
    assert f"{_ENDS}script" not in source.lower(), "the element would end early"
    return Markup(source)  # noqa: S704  # our own asset


def _policy(scripts: list[Markup], styles: str) -> str:
    """Nothing may be requested, from anywhere; only the scripts and styles that were put in may act."""
    allowed = " ".join(_allowed(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_allowed(styles)}; base-uri 'none'; form-action 'none'"
    )


def _allowed(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return files("services.report").joinpath("assets", name).read_text(encoding="utf-8")


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("services.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _digest(chunks: Iterable[bytes]) -> str:
    digest = sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
