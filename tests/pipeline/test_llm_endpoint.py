"""An endpoint against a server that really misbehaves: what is repeated, what stops, and what each request came to."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest
from bad_server import (
    Action,
    BadServer,
    Seen,
    cut,
    cut_stream,
    drip,
    error,
    hang,
    html,
    in_turn,
    no_answer,
    says,
    serving,
    status,
)

from pipeline.failures import UserError
from pipeline.llm import endpoint
from pipeline.llm.base import Failure, Message, Reply, Request, Tally
from pipeline.llm.config import Writer, secret
from pipeline.llm.endpoint import Endpoint, retry_after
from pipeline.llm.limits import Typical, most_tokens

KEY = "sk-test-7f3a9c1e5b"
SCHEMA = '{"additionalProperties":false,"properties":{},"type":"object"}'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setattr(endpoint, "BACK_OFF", (0.01, 0.05))


def request(text: str = "hello") -> Request:
    return Request((Message("system", "Be good."), Message("user", text)), SCHEMA)


def asked(server: BadServer, count: int = 1, **settings: object) -> tuple[list[Reply | Failure | BaseException], Tally]:
    """What so many requests, all at once, come to."""
    tally = Tally()
    options = {"backend": "endpoint", "model": "m", "base_url": server.url, "api_key_env": "TEST_KEY", "patience": 5}
    writer = Writer.model_validate({**options, **settings})

    async def ask() -> list[Reply | Failure | BaseException]:
        generator = Endpoint(writer, tally)
        try:
            questions = (generator.generate(request(f"question {number}")) for number in range(count))
            return await asyncio.gather(*questions, return_exceptions=True)
        finally:
            await generator.close()

    found = asyncio.run(ask())
    assert tally.requests == tally.replies + sum(tally.failed.values())
    return found, tally


def test_a_reply_comes_with_its_tokens_and_the_request_says_what_was_asked() -> None:
    with serving(in_turn(says('{"a": 1}'))) as server:
        found, tally = asked(server, temperature=0.5, max_tokens=77, options={"reasoning_effort": "low"})
    assert found == [Reply('{"a": 1}', "stop", 10, 5)]
    assert (tally.requests, tally.replies, tally.repeated) == (1, 1, 0)
    [seen] = server.seen
    assert (seen.path, seen.key) == ("/v1/chat/completions", KEY)
    assert seen.payload["messages"][0] == {"role": "system", "content": "Be good."}
    assert (seen.payload["temperature"], seen.payload["max_tokens"]) == (0.5, 77)
    assert seen.payload["reasoning_effort"] == "low"
    form = seen.payload["response_format"]["json_schema"]
    assert form["strict"] is True and form["schema"]["type"] == "object"


@pytest.mark.parametrize(("structured", "expected"), [("json", {"type": "json_object"}), ("none", None)])
def test_servers_without_schemas_are_asked_otherwise(structured: str, expected: object) -> None:
    with serving(in_turn(says("{}"))) as server:
        asked(server, structured=structured, temperature=None)
    assert server.seen[0].payload.get("response_format") == expected
    assert "temperature" not in server.seen[0].payload


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (error(500, "out of order"), "500"),
        (error(503, "later"), "503"),
        (html(502), "502"),
        (html(200), "no-completion"),
        (status(200, '{"choices": [{"message": {"cont'), "no-completion"),
        (status(200, {"choices": []}), "no-completion"),
        (status(200, [1, 2]), "no-completion"),
        (says(None), "no-completion"),
        (cut, "connection"),
        (cut_stream, "connection"),
        (no_answer, "connection"),
        (error(429, "slow down"), "429"),
    ],
)
def test_what_may_pass_is_asked_again(action: Action, reason: str) -> None:
    with serving(in_turn(action, action, says("{}"))) as server:
        found, tally = asked(server)
    assert found == [Reply("{}", "stop", 10, 5)]
    assert dict(tally.failed) == {reason: 2}
    assert (tally.requests, tally.repeated, len(server.seen)) == (3, 2, 3)


@pytest.mark.parametrize("action", [hang, drip])
def test_what_hangs_is_cut_off_and_asked_again(action: Action) -> None:
    with serving(in_turn(action, says("{}"))) as server:
        started = time.monotonic()
        found, tally = asked(server, timeout=0.5)
        assert 0.5 <= time.monotonic() - started < 5
    assert found == [Reply("{}", "stop", 10, 5)]
    assert set(tally.failed) == {"timeout"}


def test_patience_ends_and_the_failure_says_what_was_seen() -> None:
    with serving(in_turn(error(500, "out of order"))) as server:
        started = time.monotonic()
        [found], tally = asked(server, patience=0.3)
        assert time.monotonic() - started < 3
    assert found == Failure("500", "500 out of order")
    assert tally.requests == len(server.seen) == tally.failed["500"] > 2


def test_retry_after_is_waited_for_by_everybody() -> None:
    def act(_: Seen, number: int) -> Action:
        return error(429, "slow down", Retry_After="0.4") if number == 0 else says("{}")

    with serving(act) as server:
        _, tally = asked(server, count=1)
        assert server.seen[1].at - server.seen[0].at >= 0.4
        assert tally.failed == {"429": 1}

    with serving(act) as server:
        tally = Tally()
        writer = Writer(backend="endpoint", model="m", base_url=server.url)

        async def two() -> None:
            generator = Endpoint(writer, tally)
            first = asyncio.create_task(generator.generate(request("first")))
            await asyncio.sleep(0.15)
            await asyncio.gather(first, generator.generate(request("second")))
            await generator.close()

        asyncio.run(two())
        assert min(seen.at for seen in server.seen[1:]) - server.seen[0].at >= 0.4
        assert server.seen[0].key == "none", "an address of one's own is sent no key unless one is named"


def test_a_wait_longer_than_patience_is_not_begun() -> None:
    with serving(in_turn(error(429, "tomorrow", Retry_After="86400"))) as server:
        started = time.monotonic()
        [found], tally = asked(server, patience=5)
        assert time.monotonic() - started < 4
    assert isinstance(found, Failure) and found.reason == "429"
    assert tally.requests == 1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected


def test_retry_after_may_be_a_date() -> None:
    wait = retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)})
    assert wait is not None and 55 < wait <= 60
    assert retry_after({"retry-after": formatdate(time.time() - 60, usegmt=True)}) == 0.0


@pytest.mark.parametrize(
    ("action", "kind", "advice"),
    [
        (error(401, f"Incorrect API key provided: {KEY}."), "environment", "TEST_KEY is refused"),
        (error(403, f"not for {KEY}"), "environment", "may use this model"),
        (error(402, "no balance"), "environment", "nothing left to spend"),
        (error(429, "quota", "insufficient_quota"), "environment", "nothing left to spend"),
        (html(401), "environment", "TEST_KEY is refused"),
        (error(404, "no such model"), "config", "base_url"),
    ],
)
def test_what_no_repetition_mends_stops_at_once_with_advice(action: Action, kind: str, advice: str) -> None:
    with serving(in_turn(action)) as server:
        [found], tally = asked(server)
    assert isinstance(found, UserError) and found.kind == kind
    assert advice in str(found) and server.url in str(found)
    assert KEY not in str(found) and found.__cause__ is None
    assert len(server.seen) == tally.failed["stopped"] == 1


def test_a_request_that_is_refused_costs_its_row_alone() -> None:
    with serving(lambda seen, _: error(400, "too long") if "1" in seen.question else says("{}")) as server:
        found, tally = asked(server, count=3)
    assert found == [Reply("{}", "stop", 10, 5), Failure("400", "400 too long"), Reply("{}", "stop", 10, 5)]
    assert (tally.requests, tally.repeated) == (3, 0)


def test_a_model_that_refuses_costs_its_row_alone() -> None:
    with serving(in_turn(says(None, refusal="I will not"), says("", "content_filter"))) as server:
        found, _ = asked(server, count=2)
    assert {one.reason for one in found if isinstance(one, Failure)} == {"refused"} and len(found) == 2


def test_an_address_where_nobody_listens_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "UNREACHABLE_SECONDS", 0.1)
    with serving(in_turn(says("{}"))) as server:
        pass
    [found], _ = asked(server)
    assert isinstance(found, UserError) and found.kind == "environment"
    assert "cannot be reached" in str(found) and "Is the server running" in str(found)


def test_an_endpoint_that_answers_nobody_any_more_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "IN_A_ROW", 3)
    with serving(in_turn(error(500, "out of order"))) as server:
        found, _ = asked(server, count=3, patience=0.05)
    assert sum(isinstance(one, UserError) for one in found) == 1
    assert sum(isinstance(one, Failure) for one in found) == 2


def test_limits_are_kept_evenly() -> None:
    """1,200 a minute are 0.05 seconds apart: the n-th is not sent before n times that."""
    with serving(in_turn(says("{}"))) as server:
        started = time.monotonic()
        asked(server, count=6, requests_per_minute=1200)
    times = sorted(seen.at - started for seen in server.seen)
    assert all(at >= 0.05 * number for number, at in enumerate(times))


def test_tokens_are_guessed_and_then_counted() -> None:
    """A quarter of the bound of 200 at first: 50 tokens at 600 a second, three waits. Then what replies take: 15."""
    one = request("question 0")
    bound = sum(most_tokens(one, 88))
    assert bound == 200, "8 + 10 bytes, 16 for each of two messages, 62 bytes of schema, 88 for the reply"
    with serving(in_turn(says("{}"))) as server:
        started = time.monotonic()
        asked(server, count=4, tokens_per_minute=36000, max_tokens=88)
    assert max(seen.at for seen in server.seen) - started >= 3 * 50 / 600
    typical = Typical()
    assert typical.of(one, 88) == 50
    typical.learn(15)
    assert typical.of(one, 88) == 15
    typical.learn(25)
    assert typical.of(one, 88) == 16


@pytest.mark.parametrize("value", ["sk-with space", "schlüssel", "sk\nsecond"])
def test_what_cannot_be_a_key_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TEST_KEY", value)
    with pytest.raises(UserError, match="TEST_KEY holds no key") as caught:
        secret(Writer(backend="endpoint", model="m", base_url="http://h/v1", api_key_env="TEST_KEY"))
    assert value not in str(caught.value)


def test_a_key_that_is_not_set_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="OPENAI_API_KEY is not set") as caught:
        secret(Writer(backend="endpoint", model="gpt-4o"))
    assert caught.value.kind == "environment"


def test_a_server_that_repeats_the_key_does_not_get_it_into_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(in_turn(says(f"your key is {KEY}"), html(), status(200, f"{KEY}"))) as server:
        [found], _ = asked(server)
        [lost], _ = asked(server, patience=0.05)
    assert found == Reply("your key is [key]", "stop", 10, 5)
    assert isinstance(lost, Failure) and KEY not in lost.detail


def test_half_a_character_in_a_reply_is_no_crash() -> None:
    with serving(in_turn(status(200, '{"choices": [{"message": {"content": "a\\ud800b"}}]}'))) as server:
        [found], _ = asked(server)
    assert found == Reply("a?b", "stop", 0, 0)
