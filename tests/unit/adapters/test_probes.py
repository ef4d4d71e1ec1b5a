"""The HTTP listener: the right paths and methods, reasons in the body, and no way to hold it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.adapters import probes as module
from services.adapters.probes import CONNECTIONS, Probes, host_of, is_loopback

HOST = "127.0.0.1"


class Served:
    """Probes on a port of their own, with reasons that the test sets."""

    def __init__(self) -> None:
        self.not_live: list[str] = []
        self.not_ready: list[str] = []
        self.release = asyncio.Event()
        self.release.set()
        self.probes = Probes(lambda: b"m 1\n", lambda: self.not_live, lambda: self.not_ready, self._status)
        self.port = 0

    async def _status(self, *, name_accounts: bool) -> bytes:
        await self.release.wait()
        return b'{"named":true}' if name_accounts else b'{"named":false}'

    async def ask(self, head: str) -> tuple[int, str]:
        """Send the request's head as it is; status code and the whole rest of the answer."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        writer.write(head.encode())
        await writer.drain()
        answer = (await asyncio.wait_for(reader.read(), 10)).decode()
        writer.close()
        return (int(answer.split()[1]) if answer else 0), answer

    async def get(self, path: str, method: str = "GET", host: str = HOST) -> tuple[int, str]:
        return await self.ask(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    made.port = await made.probes.start(HOST, 0)
    yield made
    made.release.set()
    await made.probes.stop()


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz", "/metrics", "/statusz"])
async def test_each_path_answers_get_and_head(served: Served, path: str) -> None:
    status, answer = await served.get(path)
    assert status == 200
    head_status, head = await served.get(path, "HEAD")
    assert head_status == 200
    assert head.endswith("\r\n\r\n")
    assert len(answer) > len(head)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods_are_refused(served: Served, method: str) -> None:
    status, answer = await served.get("/statusz", method)
    assert status == 405
    assert "Allow: GET,HEAD" in answer


async def test_reasons_are_in_the_body(served: Served) -> None:
    served.not_ready = ["shard 0: recovering", "no fresh price"]
    status, answer = await served.get("/readyz")
    assert status == 503
    assert answer.endswith("\r\n\r\nshard 0: recovering\nno fresh price\n")
    assert (await served.get("/livez"))[0] == 200
    served.not_live = ["failed"]
    assert (await served.get("/healthz"))[0] == 503


async def test_accounts_are_named_to_this_machine_only(served: Served) -> None:
    assert '"named":true' in (await served.get("/statusz"))[1]
    assert '"named":true' in (await served.get("/statusz", host="localhost:9464"))[1]
    # A page in the operator's browser whose name was made to resolve to loopback.
    assert '"named":false' in (await served.get("/statusz", host="evil.example:9464"))[1]


async def test_a_connection_serves_one_request(served: Served) -> None:
    request = f"GET /livez HTTP/1.1\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n"
    _, answer = await served.ask(request + request)
    assert answer.count("HTTP/1.1 ") == 1
    assert "Connection: close" in answer
    assert "Server: ringfence\r\n" in answer


async def test_large_requests_are_refused(served: Served) -> None:
    assert (await served.get("/livez?" + "x" * 10_000))[0] == 400
    assert (await served.ask(f"GET /livez HTTP/1.1\r\nHost: {HOST}\r\nX: {'x' * 10_000}\r\n\r\n"))[0] == 400
    fields = "".join(f"X-{number}: 1\r\n" for number in range(100))
    assert (await served.ask(f"GET /livez HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"))[0] == 400


async def test_a_body_is_not_waited_for(served: Served) -> None:
    status, _ = await served.ask(f"GET /livez HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000000\r\n\r\n")
    assert status == 200


async def test_a_request_that_does_not_end_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_S", 0.05)
    assert await served.ask("GET /livez HTTP/1.1\r\nHost: ") == (0, "")


async def test_an_answer_that_takes_too_long_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.05)
    served.release.clear()
    assert (await served.get("/statusz"))[0] == 503


async def test_too_many_connections_are_closed_and_the_probes_go_on(served: Served) -> None:
    held = [await asyncio.open_connection(HOST, served.port) for _ in range(CONNECTIONS)]
    assert await served.get("/livez") == (0, "")
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(10):
        while (await served.get("/livez"))[0] != 200:  # noqa: ASYNC110  # the server notices the closed ones in its own time
            await asyncio.sleep(0)


@pytest.mark.parametrize("name", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_loopback(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize("name", ["", "10.0.0.1", "localhost.evil.example", "0.0.0.0", "2130706433"])
def test_nothing_else_is(name: str) -> None:
    assert not is_loopback(name)


def test_hosts_are_taken_apart() -> None:
    assert [host_of(each) for each in ("a:1", "a", "[::1]:80", "127.0.0.1:0")] == ["a", "a", "::1", "127.0.0.1"]
