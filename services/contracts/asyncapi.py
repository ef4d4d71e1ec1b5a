"""The AsyncAPI 3.0 document of the product, generated from the topic catalogue.

"receive" and "send" are from the product's point of view: it receives fills and sends liquidation orders.
"""

from typing import Any, Final

import msgspec

from services.contracts.codec import encode
from services.contracts.examples import EXAMPLES
from services.contracts.schemas import SCHEMA_TOPICS, file_name
from services.contracts.topics import TOPICS, Topic

ASYNCAPI: Final = "3.0.0"
KAFKA_BINDING: Final = "0.5.0"
SCHEMA_FORMAT: Final = "application/schema+json;version=draft-2020-12"
TEXT: Final = {"type": "string"}

# Kafka headers by schema name, or by topic where the topic has no schema.
HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "liquidation-order": ("content-type", "schema", "signature", "key-id", "traceparent"),
    "dead-letters": ("reason", "detail", "topic", "partition", "offset", "timestamp-ms"),
}

Document = dict[str, Any]


def document() -> Document:
    """The whole document; schemas are referred to by the names of their files beside it."""
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "Ringfence",
            "version": "1.0.0",
            "description": "Topics of a streaming liquidation monitor: ring-fenced margin buckets, closed out before "
            "their equity goes below zero. Every amount, price, rate and quantity is a decimal string.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": dict(_operations()),
        "components": {"messages": _messages()},
    }


def _channel(topic: Topic) -> Document:
    name = _message_name(topic)
    channel: Document = {"address": topic.name, "title": topic.name, "summary": topic.summary}
    if topic.partitions is None:
        channel["description"] = (
            "As many partitions as every account topic: one count, configured; partition = murmur2(account)."
        )
    if name is not None:
        channel["messages"] = {name: {"$ref": f"#/components/messages/{name}"}}
    channel["bindings"] = {"kafka": _kafka_channel(topic)}
    # Kafka's max.message.bytes bounds a batch, not a record, so the bound of a record has a name of its own.
    channel["x-max-record-bytes"] = topic.max_bytes
    channel["x-timestamp-type"] = topic.timestamp_type
    channel["x-key"] = topic.key
    return channel


def _kafka_channel(topic: Topic) -> Document:
    binding: Document = {"topic": topic.name}
    if topic.partitions is not None:
        binding["partitions"] = topic.partitions
    binding["topicConfiguration"] = {
        "cleanup.policy": ["compact" if topic.compacted else "delete"],
        "retention.ms": -1 if topic.retention_ms is None else topic.retention_ms,
    }
    binding["bindingVersion"] = KAFKA_BINDING
    return binding


def _operations() -> list[tuple[str, Document]]:
    """Names and operations: one for each direction of each topic."""
    return [
        (f"{action}-{topic.name}", _operation(action, topic))
        for topic in TOPICS
        for action, does in (("receive", topic.received), ("send", topic.sent))
        if does
    ]


def _operation(action: str, topic: Topic) -> Document:
    name = _message_name(topic)
    operation: Document = {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": topic.summary,
    }
    if name is not None:
        operation["messages"] = [{"$ref": f"#/channels/{topic.name}/messages/{name}"}]
    return operation


def _message_name(topic: Topic) -> str | None:
    """The message of a channel: its schema, or what its headers alone describe, or nothing yet."""
    if topic.schema is not None:
        return topic.schema
    return topic.name if topic.name in HEADERS else None


def _messages() -> Document:
    return {name: _message(name, topic) for topic in TOPICS if (name := _message_name(topic)) is not None}


def _message(name: str, topic: Topic) -> Document:
    message: Document = {"name": name, "title": name, "summary": topic.summary}
    if name in HEADERS:
        message["headers"] = {"type": "object", "properties": dict.fromkeys(HEADERS[name], TEXT)}
    key = {"type": "string", "description": topic.key}
    message["bindings"] = {"kafka": {"key": key, "bindingVersion": KAFKA_BINDING}}
    if name in SCHEMA_TOPICS:
        message["contentType"] = "application/json"
        message["payload"] = {"schemaFormat": SCHEMA_FORMAT, "schema": {"$ref": f"./{file_name(name)}"}}
        message["examples"] = [
            {"name": example.name, "payload": msgspec.json.decode(encode(example.message))}
            for example in EXAMPLES
            if example.schema == name
        ]
    return message
