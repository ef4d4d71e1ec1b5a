"""Ids and partitions against published vectors and a computation of their own."""

from __future__ import annotations

import struct
from hashlib import blake2b

import pytest

from services.contracts.identifiers import murmur2, order_id, partition_of

# org.apache.kafka.common.utils.UtilsTest.testMurmur2, as the signed integers of Java.
JAVA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
    b"": 275646681,
}


@pytest.mark.parametrize(("key", "signed"), JAVA_VECTORS.items())
def test_murmur2_is_that_of_the_java_client(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32


@pytest.mark.parametrize("partitions", [1, 3, 12, 4096])
def test_the_partition_drops_the_sign_bit_as_the_java_client_does(partitions: int) -> None:
    assert partition_of("foobar", partitions) == (-790332482 & 0x7FFFFFFF) % partitions
    assert partition_of("abc", partitions) == 479470107 % partitions


def test_an_order_id_can_be_recomputed_from_its_description() -> None:
    parts = [b"a-17", b"BTC-PERP:long", b"BTC-PERP", b"12"]
    described = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    expected = blake2b(described, digest_size=16).hexdigest()
    assert order_id("a-17", "BTC-PERP:long", "BTC-PERP", 12) == expected


def test_order_ids_differ_when_only_the_borders_of_the_parts_do() -> None:
    assert order_id("a", "bc", "d", 1) != order_id("ab", "c", "d", 1)
    assert order_id("a", "b", "c1", 1) != order_id("a", "b", "c", 11)
