"""The AsyncAPI document has the structure of its specification and says what the catalogue says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from services.contracts import asyncapi
from services.contracts.schemas import schema_of
from services.contracts.topics import BY_NAME, TOPICS, Topic

COMMITTED = Path(__file__).resolve().parents[3] / "schemas"
DOCUMENT = asyncapi.document()
# AsyncAPI 3.0: the fields of each object, extensions ("x-...") aside.
ROOT = {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"}
CHANNEL = {
    "address",
    "messages",
    "title",
    "summary",
    "description",
    "servers",
    "parameters",
    "tags",
    "externalDocs",
    "bindings",
}
OPERATION = {
    "action", "channel", "title", "summary", "description", "security", "tags", "externalDocs", "bindings", "traits", "messages",
    "reply",
}  # fmt: skip
MESSAGE = {
    "headers", "payload", "correlationId", "contentType", "name", "title", "summary", "description", "tags", "externalDocs",
    "bindings", "examples", "traits",
}  # fmt: skip
KAFKA_CHANNEL = {"topic", "partitions", "replicas", "topicConfiguration", "bindingVersion"}
TOPIC_CONFIGURATION = {"cleanup.policy", "retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes"}


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def resolve(reference: str) -> Any:
    node: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def unknown(node: dict[str, Any], known: set[str]) -> set[str]:
    return {name for name in node if not name.startswith("x-")} - known


def test_the_root() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert not unknown(DOCUMENT, ROOT)
    assert {"title", "version"} <= DOCUMENT["info"].keys()


def test_every_reference_resolves() -> None:
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        if reference.startswith("#/"):
            assert resolve(reference)
        else:
            assert (COMMITTED / reference).is_file()


@pytest.mark.parametrize("topic", TOPICS, ids=[topic.name for topic in TOPICS])
def test_a_channel_says_what_the_catalogue_says(topic: Topic) -> None:
    channel = DOCUMENT["channels"][topic.name]
    kafka = channel["bindings"]["kafka"]
    configuration = kafka["topicConfiguration"]
    assert not unknown(channel, CHANNEL)
    assert not unknown(kafka, KAFKA_CHANNEL)
    assert configuration.keys() <= TOPIC_CONFIGURATION
    assert channel["address"] == kafka["topic"] == topic.name
    assert kafka.get("partitions") == topic.partitions
    assert configuration["retention.ms"] == (-1 if topic.retention_ms is None else topic.retention_ms)
    assert configuration["cleanup.policy"] == (["compact"] if topic.compacted else ["delete"])
    assert "max.message.bytes" not in configuration  # it would bound a batch of records, not a record
    assert channel["x-max-record-bytes"] == topic.max_bytes
    assert channel["x-timestamp-type"] == topic.timestamp_type
    assert (topic.schema in channel.get("messages", {})) == (topic.schema is not None)


def test_the_channels_are_the_topics() -> None:
    assert list(DOCUMENT["channels"]) == [topic.name for topic in TOPICS]


def test_operations_are_seen_from_the_product() -> None:
    operations = DOCUMENT["operations"]
    directions: dict[str, set[str]] = {}
    for operation in operations.values():
        assert not unknown(operation, OPERATION)
        assert operation["action"] in {"send", "receive"}
        topic = operation["channel"]["$ref"].removeprefix("#/channels/")
        directions.setdefault(topic, set()).add(operation["action"])
        for message in operation.get("messages", ()):
            assert message["$ref"].startswith(f"#/channels/{topic}/messages/")  # a subset of the channel's own
    assert directions["fills"] == {"receive"}
    assert directions["defaults"] == {"send"}
    assert directions["liquidation-orders"] == {"send", "receive"}
    assert directions.keys() == BY_NAME.keys()


@pytest.mark.parametrize("name", DOCUMENT["components"]["messages"])
def test_a_message_has_a_schema_and_examples_that_satisfy_it(name: str) -> None:
    message = DOCUMENT["components"]["messages"][name]
    assert not unknown(message, MESSAGE)
    assert message["bindings"]["kafka"]["key"]["type"] == "string"
    if name == "dead-letters":
        assert set(message["headers"]["properties"]) == {
            "reason", "detail", "topic", "partition", "offset", "timestamp-ms",
        }  # fmt: skip
        return
    assert message["payload"]["schema"]["$ref"] == f"./{name}.v1.json"
    assert message["payload"]["schemaFormat"].startswith("application/schema+json;version=")
    assert message["examples"]
    for example in message["examples"]:
        jsonschema.Draft202012Validator(schema_of(name)).validate(example["payload"])
