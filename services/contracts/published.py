"""Everything below `schemas/`: what other teams read, as bytes by file name. The product never reads it at run time."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from services.contracts import asyncapi, compat
from services.contracts.codec import encode
from services.contracts.examples import EXAMPLES
from services.contracts.schemas import SCHEMA_TOPICS, Schema, file_name, schemas

ASYNCAPI_FILE: Final = "asyncapi.json"
EXAMPLES_FOLDER: Final = "examples"


def files() -> dict[str, bytes]:
    """Every file by its name relative to `schemas/`. An example is exactly the bytes of a record, without a final newline."""
    found = {file_name(name): pretty(schema) for name, schema in schemas().items()}
    found[ASYNCAPI_FILE] = pretty(asyncapi.document())
    for example in EXAMPLES:
        found[f"{EXAMPLES_FOLDER}/{example.name}.json"] = encode(example.message)
    return found


def pretty(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def incompatible(committed: Mapping[str, Schema]) -> list[compat.Finding]:
    """How the types differ from the committed schema documents (by file name) in a way that breaks somebody."""
    generated = {file_name(name): schema for name, schema in schemas().items()}
    uses = {
        file_name(name): compat.Use(received=topic.received, sent=topic.sent) for name, topic in SCHEMA_TOPICS.items()
    }
    return compat.compare_all(committed, generated, uses)
