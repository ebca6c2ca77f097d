"""The server, over HTTP, as a process of its own, with the tiny model on a CPU."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

SERVER = Path(__file__).resolve().parent / "server.py"
CONTEXT = 2048
WORDS = "the board warms up while a model reads its prompt and cools down after the last word".split()


def prompt(words: int) -> str:
    return " ".join(WORDS[i % len(WORDS)] for i in range(words))


class Rig:
    """A server process and what its clients need."""

    def __init__(self, folder: Path):
        self.truth_path = folder / "truth.jsonl"
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), "--device=cpu", "--shape=tiny", "--port=0"]
            + [f"--context={CONTEXT}", f"--truth={self.truth_path}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()  # printed once it serves
        assert line.startswith("listening on http://127.0.0.1:"), line
        self.port = int(line.rsplit(":", 1)[1])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def open(self, method: str, path: str, body=None, headers=None) -> http.client.HTTPResponse:
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        connection = self.connect()
        connection.request(method, path, body, headers or {})
        return connection.getresponse()

    def call(self, method: str, path: str, body=None) -> tuple[int, dict]:
        response = self.open(method, path, body)
        return response.status, json.loads(response.read())

    def stream(self, path: str, body: dict, request_id: str = "") -> list[dict]:
        response = self.open("POST", path, {**body, "stream": True}, {"X-Request-Id": request_id})
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        return events(response)

    def truth(self) -> dict[str, dict]:
        return {t["request_id"]: t for t in map(json.loads, self.truth_path.read_text().splitlines())}


def events(response: http.client.HTTPResponse) -> list[dict]:
    lines = [line for line in response.read().decode().split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    rig = Rig(tmp_path_factory.mktemp("rig"))
    yield rig
    rig.process.terminate()
    assert rig.process.wait(20) == 0


def chat(words: int, tokens: int, **more) -> dict:
    messages = [{"role": "user", "content": prompt(words)}]
    return {"model": "any", "messages": messages, "max_tokens": tokens, "ignore_eos": True, **more}


def test_it_says_what_it_is(rig):
    assert rig.call("GET", "/health") == (200, {"status": "ok"})
    status, models = rig.call("GET", "/v1/models")
    assert status == 200
    (model,) = models["data"]
    assert (model["id"], model["owned_by"], model["max_model_len"]) == ("tracer-rig-tiny", "tracer-rig", CONTEXT)


@pytest.mark.parametrize("words, tokens", ((1, 1), (10, 1), (50, 10), (100, 100), (1000, 3), (7, 1000)))
def test_a_chat_streams_exactly_the_tokens_asked_for(rig, words, tokens):
    body = chat(words, tokens, stream_options={"include_usage": True})
    chunks = rig.stream("/v1/chat/completions", body)
    *content, finish, usage = chunks
    assert len(content) == tokens
    assert all(c["choices"][0]["delta"]["content"] and c["choices"][0]["finish_reason"] is None for c in content)
    assert finish["choices"] == [{"index": 0, "finish_reason": "length", "delta": {}}]
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": words,
        "completion_tokens": tokens,
        "total_tokens": words + tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert {c["model"] for c in chunks} == {"tracer-rig-tiny"}
    assert len({c["id"] for c in chunks}) == 1

    text = "".join(c["choices"][0]["delta"]["content"] for c in content)
    assert rig.call("POST", "/tokenize", {"content": text})[1]["count"] == tokens


def test_usage_equals_what_tokenize_counts(rig):
    for text in ("Summarize in 1 word.", "Zwölf Boxkämpfer jagen Viktor: 3.14159, a_b 😀!", prompt(333) + "?!"):
        counts = {rig.call("POST", "/tokenize", {key: text})[1]["count"] for key in ("content", "prompt")} | {
            rig.call("POST", "/tokenize", {"messages": [{"role": "user", "content": text}]})[1]["count"]
        }
        _, answer = rig.call("POST", "/v1/completions", {"prompt": text, "max_tokens": 2})
        _, chatted = rig.call("POST", "/v1/chat/completions", {**chat(1, 2), "messages": [{"content": text}]})
        assert counts == {answer["usage"]["prompt_tokens"]} == {chatted["usage"]["prompt_tokens"]}


def test_token_ids_are_a_prompt_too(rig):
    _, tokens = rig.call("POST", "/tokenize", {"content": prompt(12)})
    assert tokens["max_model_len"] == CONTEXT
    _, by_text = rig.call("POST", "/v1/completions", {"prompt": prompt(12), "max_tokens": 9})
    _, by_ids = rig.call("POST", "/v1/completions", {"prompt": tokens["tokens"], "max_tokens": 9})
    assert by_text["choices"] == by_ids["choices"]


def test_completions_stream_text_and_whole_answers_say_the_same(rig):
    body = {"prompt": prompt(30), "max_tokens": 17, "stream_options": {"include_usage": True}}
    *content, finish, usage = rig.stream("/v1/completions", body)
    assert len(content) == 17
    assert finish["choices"][0] == {"index": 0, "finish_reason": "length", "text": ""}
    _, whole = rig.call("POST", "/v1/completions", {**body, "stream": False})
    assert whole["choices"][0]["text"] == "".join(c["choices"][0]["text"] for c in content)
    assert whole["usage"] == usage["usage"]
    _, chatted = rig.call("POST", "/v1/chat/completions", chat(30, 17))
    assert chatted["choices"][0]["message"] == {"role": "assistant", "content": whole["choices"][0]["text"]}


def test_usage_is_left_out_unless_asked_for(rig):
    chunks = rig.stream("/v1/chat/completions", chat(5, 4))
    assert len(chunks) == 5
    assert not any("usage" in c for c in chunks)
    assert chunks[-1]["timings"]["predicted_n"] == 4


def test_timings_agree_with_the_truth_file(rig):
    body = chat(200, 40, stream_options={"include_usage": True})
    last = rig.stream("/v1/chat/completions", body, "timed:1")[-1]
    assert last["id"] == "chatcmpl-timed:1"
    t = rig.truth()["timed:1"]
    assert t["arrival_ns"] <= t["prefill_start_ns"] < t["first_token_ns"] < t["end_ns"]
    assert (t["prompt_tokens"], t["max_tokens"], t["completion_tokens"]) == (200, 40, 40)
    assert t["status"] == "complete"

    prefill = (t["first_token_ns"] - t["prefill_start_ns"]) / 1e6
    decode = (t["end_ns"] - t["first_token_ns"]) / 1e6
    queue = (t["prefill_start_ns"] - t["arrival_ns"]) / 1e6
    assert last["timings"] == {
        "cache_n": 0,
        "prompt_n": 200,
        "prompt_ms": pytest.approx(prefill),
        "predicted_n": 40,
        "predicted_ms": pytest.approx(decode),
    }
    assert last["metrics"] == {
        "queue_time_ms": pytest.approx(queue),
        "time_to_first_token_ms": pytest.approx(queue + prefill),
        "generation_time_ms": pytest.approx(decode),
    }


def test_a_second_request_waits_and_says_for_how_long(rig):
    first = rig.open("POST", "/v1/chat/completions", chat(10, 1500, stream=True), {"X-Request-Id": "first"})
    assert first.readline().startswith(b"data: ")  # it has the model
    second: list[list[dict]] = []
    body = chat(10, 5, stream_options={"include_usage": True})
    waiting = threading.Thread(target=lambda: second.append(rig.stream("/v1/chat/completions", body, "second")))
    waiting.start()
    assert len(events_after_first(first)) == 1500
    waiting.join(60)
    t = rig.truth()
    assert t["first"]["first_token_ns"] < t["second"]["arrival_ns"] < t["first"]["end_ns"]
    assert t["second"]["prefill_start_ns"] >= t["first"]["end_ns"]
    waited = (t["first"]["end_ns"] - t["second"]["arrival_ns"]) / 1e6
    assert second[0][-1]["metrics"]["queue_time_ms"] >= waited
    assert second[0][-1]["timings"]["prompt_ms"] < second[0][-1]["metrics"]["time_to_first_token_ms"]


def events_after_first(response: http.client.HTTPResponse) -> list[dict]:
    response.readline()  # the blank line that ends the event already read
    return events(response)


def test_a_client_that_leaves_frees_the_model(rig):
    connection = rig.connect()
    body = json.dumps(chat(10, 1900, stream=True))
    connection.request("POST", "/v1/chat/completions", body, {"X-Request-Id": "leaver"})
    response = connection.getresponse()
    response.readline()
    response.close()
    connection.close()
    rig.stream("/v1/chat/completions", chat(3, 2), "next")
    t = rig.truth()
    assert t["leaver"]["status"] == "cancelled"
    assert t["leaver"]["completion_tokens"] < 1900
    assert t["next"]["prefill_start_ns"] >= t["leaver"]["end_ns"]


@pytest.mark.parametrize(
    "method, path, body, status, kind",
    (
        ("GET", "/nowhere", None, 404, "not_found_error"),
        ("POST", "/v1/nowhere", {}, 404, "not_found_error"),
        ("GET", "/v1/chat/completions", None, 404, "not_found_error"),
        ("POST", "/v1/completions", "{b", 400, "invalid_request_error"),
        ("POST", "/v1/completions", "", 400, "invalid_request_error"),
        ("POST", "/v1/completions", [], 400, "invalid_request_error"),
        ("POST", "/v1/completions", {"prompt": 3}, 400, "invalid_request_error"),
        ("POST", "/v1/completions", {"prompt": [1, -1]}, 400, "invalid_request_error"),
        ("POST", "/v1/completions", {"prompt": " \n"}, 400, "invalid_request_error"),
        ("POST", "/v1/completions", {"prompt": "a", "max_tokens": 0}, 400, "invalid_request_error"),
        ("POST", "/v1/completions", {"prompt": "a", "max_tokens": "9"}, 400, "invalid_request_error"),
        ("POST", "/v1/completions", {"prompt": "a", "n": 2}, 400, "invalid_request_error"),
        ("POST", "/v1/chat/completions", {"messages": "hello"}, 400, "invalid_request_error"),
        ("POST", "/v1/chat/completions", {"messages": [{"content": [{"type": "i"}]}]}, 400, "invalid_request_error"),
        ("POST", "/tokenize", {}, 400, "invalid_request_error"),
    ),
)
def test_errors_are_json_with_a_type(rig, method, path, body, status, kind):
    got, answer = rig.call(method, path, body)
    assert got == status
    assert answer["error"]["type"] == kind
    assert answer["error"]["code"] == status
    assert answer["error"]["message"]


@pytest.mark.parametrize("words, tokens", ((CONTEXT + 1, 1), (CONTEXT - 9, 10)))
def test_what_does_not_fit_the_context_is_refused(rig, words, tokens):
    status, answer = rig.call("POST", "/v1/chat/completions", chat(words, tokens, stream=True))
    assert status == 400
    error = answer["error"]
    assert (error["type"], error["n_prompt_tokens"], error["n_ctx"]) == ("exceed_context_size_error", words, CONTEXT)


def test_what_just_fits_the_context_is_served(rig):
    _, answer = rig.call("POST", "/v1/chat/completions", chat(CONTEXT - 10, 10))
    assert answer["usage"]["total_tokens"] == CONTEXT


def test_a_connection_serves_one_request_after_another(rig):
    connection = rig.connect()
    for _ in range(3):
        for body in (chat(4, 3), chat(4, 3, stream=True), chat(4, 0)):
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            response = connection.getresponse()
            response.read()
            assert response.status == (200 if body["max_tokens"] else 400)


def test_sigterm_ends_it_in_the_middle_of_an_answer(tmp_path):
    rig = Rig(tmp_path)
    response = rig.open("POST", "/v1/chat/completions", chat(10, 2000, stream=True), {"X-Request-Id": "cut"})
    response.readline()
    rig.process.send_signal(signal.SIGTERM)
    assert rig.process.wait(20) == 0
    assert rig.truth()["cut"]["status"] == "stopped"
