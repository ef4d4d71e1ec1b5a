"""The JSON Schema (draft 2020-12) of each message, generated from the type that decodes it."""

from typing import Any, Final

import msgspec

from services.contracts.codec import encode
from services.contracts.examples import EXAMPLES
from services.contracts.topics import TOPICS, Topic

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
VERSION: Final = "v1"

Schema = dict[str, Any]

# By schema name, in the order of the catalogue.
SCHEMA_TOPICS: Final[dict[str, Topic]] = {topic.schema: topic for topic in TOPICS if topic.schema is not None}


def file_name(name: str) -> str:
    """Where the schema of messages `name` is kept, inside `schemas/`."""
    return f"{name}.{VERSION}.json"


def schema_id(name: str) -> str:
    return f"urn:ringfence:schema:{name}:{VERSION}"


def schema_of(name: str) -> Schema:
    """The whole schema document of messages `name`, with its examples.

    A schema says what the type says. It cannot tell 1.0 from 1, nor see sizes of records, nesting, repeated keys and the
    rules of `checks.py`; those refusals have names of their own.
    """
    topic = SCHEMA_TOPICS[name]
    (root,), definitions = msgspec.json.schema_components([topic.message], ref_template="#/$defs/{name}")
    root.pop("discriminator", None)  # a word of OpenAPI, unknown to JSON Schema; the tag is a required enum anyway
    if "$ref" in root:
        root = definitions.pop(root["$ref"].rpartition("/")[2])
    title = root.pop("title", name)
    said = root.pop("description", None)
    document: Schema = {
        "$schema": DIALECT,
        "$id": schema_id(name),
        "title": title,
        "description": f"{topic.summary[0].upper()}{topic.summary[1:]}." + (f" {said}" if said else ""),
        **root,
    }
    if definitions:
        document["$defs"] = definitions
    document["examples"] = [
        msgspec.json.decode(encode(example.message)) for example in EXAMPLES if example.schema == name
    ]
    return document


def schemas() -> dict[str, Schema]:
    """Every schema document, by name."""
    return {name: schema_of(name) for name in SCHEMA_TOPICS}
