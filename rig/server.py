#!/usr/bin/env python3
"""A streaming OpenAI-compatible server over a random-weight Llama, for tracing a real GPU without weights or network.

It answers as llama.cpp and vLLM do where they agree, gives exactly the tokens that were asked for, and writes down
when each stage of each request really began and ended, so that what a client infers can be held against it.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from engine import Engine, Stopping, Truth, build, log, ms, tokenise, word
from llama import BLOCK, SHAPES

DEFAULT_MAX_TOKENS = 256
MAX_BODY = 16 << 20


class APIError(Exception):
    """An error with the status and body that a client sees."""

    def __init__(self, status: int, kind: str, message: str, **extra: int):
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "code": status, **extra}}


@dataclass
class Completion:
    """What a request asks for, checked."""

    chat: bool
    ids: list[int]
    max_tokens: int
    stream: bool
    include_usage: bool
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def parse(cls, body: dict, chat: bool, vocab: int, context: int) -> Completion:
        ids = prompt_ids(body, chat, vocab)
        if not ids:
            raise bad_request("the prompt has no tokens")
        # max_tokens is exact: there is no end-of-sequence token, so ignore_eos and min_tokens hold by themselves.
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        if limit is None:
            limit = max(1, min(DEFAULT_MAX_TOKENS, context - len(ids)))
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise bad_request("max_tokens must be an integer of at least 1")
        if body.get("n") not in (None, 1):
            raise bad_request("n must be 1")
        # Cutting the answer short would break the promise of exact lengths, so prompt and answer must fit together.
        if len(ids) + limit > context:
            raise APIError(
                400,
                "exceed_context_size_error",
                f"request ({len(ids)} prompt tokens and {limit} to generate) exceeds the context size ({context})",
                n_prompt_tokens=len(ids),
                n_ctx=context,
            )
        options = body.get("stream_options") or {}
        include_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        return cls(chat, ids, limit, bool(body.get("stream")), include_usage)


def bad_request(message: str) -> APIError:
    return APIError(400, "invalid_request_error", message)


def prompt_ids(body: dict, chat: bool, vocab: int) -> list[int]:
    """Tokens of a chat's messages, each on its own and without a template, or of a plain prompt."""
    if chat:
        messages = body.get("messages")
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            raise bad_request("messages must be a list of objects")
        return [i for m in messages for i in tokenise(message_text(m), vocab)]
    prompt = body.get("prompt", body.get("content"))
    if isinstance(prompt, str):
        return tokenise(prompt, vocab)
    if isinstance(prompt, list) and all(type(i) is int and 0 <= i < vocab for i in prompt):
        return prompt
    raise bad_request(f"prompt must be a string or a list of token ids below {vocab}")


def message_text(message: dict) -> str:
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "\n".join(texts)
    raise bad_request("a message's content must be a string or a list of text parts")


def accounts(t: Truth) -> dict:
    """Usage as OpenAI counts it, timings as llama.cpp names them, metrics as vLLM does."""
    prefill, decode = ms(t.prefill_start_ns, t.first_token_ns), ms(t.first_token_ns, t.end_ns)
    return {
        "usage": {
            "prompt_tokens": t.prompt_tokens,
            "completion_tokens": t.completion_tokens,
            "total_tokens": t.prompt_tokens + t.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        "timings": {
            "cache_n": 0,
            "prompt_n": t.prompt_tokens,
            "prompt_ms": prefill,
            "predicted_n": t.completion_tokens,
            "predicted_ms": decode,
        },
        "metrics": {
            "queue_time_ms": ms(t.arrival_ns, t.prefill_start_ns),
            "time_to_first_token_ms": ms(t.arrival_ns, t.first_token_ns),
            "generation_time_ms": decode,
        },
    }


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], engine: Engine, model_name: str):
        super().__init__(address, Handler)
        self.engine = engine
        self.model_name = model_name
        self.started = int(time.time())


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "tracer-rig"
    disable_nagle_algorithm = True  # a token's chunk leaves when it is written

    def do_GET(self) -> None:
        self._answer({"/health": self._health, "/v1/models": self._models})

    def do_POST(self) -> None:
        self._answer(
            {
                "/tokenize": self._tokenize,
                "/v1/chat/completions": lambda: self._complete(chat=True),
                "/v1/completions": lambda: self._complete(chat=False),
            }
        )

    def _answer(self, routes: dict[str, Callable[[], None]]) -> None:
        self.arrival_ns = time.monotonic_ns()
        self.streaming = False
        try:
            route = routes.get(self.path.split("?", 1)[0])
            if route is None:
                self.close_connection = True  # a body may follow that nobody read
                raise APIError(404, "not_found_error", f"no {self.command} {self.path} here")
            route()
        except ConnectionError:
            self.close_connection = True
        except APIError as err:
            self._fail(err)
        except Stopping:
            self._fail(APIError(503, "unavailable_error", "the server is stopping"))
        except Exception as err:  # out of memory, say: the client must hear of it, and the server serve on
            self.log_error("%s: %r", self.path, err)
            self._fail(APIError(500, "server_error", repr(err)))

    def _fail(self, err: APIError) -> None:
        try:
            if self.streaming:
                self._event(err.body)
                self._end_stream()
            else:
                self._send_json(err.status, err.body)
        except ConnectionError:
            self.close_connection = True

    # -- bodies -------------------------------------------------------------------------------------------------------

    def _body(self) -> dict:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            raise bad_request(f"Content-Length must be given and at most {MAX_BODY}")
        try:
            body = json.loads(self.rfile.read(length))
        except (ValueError, RecursionError) as err:
            raise bad_request(f"the body is not JSON: {err}") from err
        if not isinstance(body, dict):
            raise bad_request("the body is not a JSON object")
        return body

    def _send_json(self, status: int, body: dict) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(payload)

    def _begin_stream(self, request_id: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("X-Request-Id", request_id)
        self.end_headers()
        self.streaming = True

    def _chunk(self, payload: bytes) -> None:
        # One write, one segment: wfile is unbuffered.
        self.wfile.write(b"%x\r\n%b\r\n" % (len(payload), payload))

    def _event(self, body: dict) -> None:
        self._chunk(b"data: " + json.dumps(body).encode() + b"\n\n")

    def _end_stream(self) -> None:
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    # -- routes -------------------------------------------------------------------------------------------------------

    def _health(self) -> None:
        self._send_json(200, {"status": "ok"})

    def _models(self) -> None:
        model = {
            "id": self.server.model_name,
            "object": "model",
            "created": self.server.started,
            "owned_by": "tracer-rig",
            "max_model_len": self.server.engine.model.context,
        }
        self._send_json(200, {"object": "list", "data": [model]})

    def _tokenize(self) -> None:
        model, body = self.server.engine.model, self._body()
        ids = prompt_ids(body, "messages" in body, model.shape.vocab)
        self._send_json(200, {"tokens": ids, "count": len(ids), "max_model_len": model.context})

    def _complete(self, chat: bool) -> None:
        model = self.server.engine.model
        asked = Completion.parse(self._body(), chat, model.shape.vocab, model.context)
        truth = Truth(self._request_id(), len(asked.ids), asked.max_tokens, self.arrival_ns)
        if asked.stream:
            self._stream(asked, truth)
        else:
            self._send_whole(asked, truth)

    def _request_id(self) -> str:
        given = re.sub(r"[^\w.:-]", "", self.headers.get("X-Request-Id", ""), flags=re.ASCII)[:128]
        return given or uuid.uuid4().hex

    def _envelope(self, asked: Completion, truth: Truth, kind: str, choices: list[dict]) -> dict:
        return {
            "id": ("chatcmpl-" if asked.chat else "cmpl-") + truth.request_id,
            "object": kind,
            "created": asked.created,
            "model": self.server.model_name,
            "choices": choices,
        }

    def _stream(self, asked: Completion, truth: Truth) -> None:
        kind = "chat.completion.chunk" if asked.chat else "text_completion"

        def send(text: str, finish: str | None = None, **more: dict) -> None:
            content = {"content": text} if text else {}
            part = {"delta": content} if asked.chat else {"text": text}
            choice = {"index": 0, "finish_reason": finish, **part}
            self._event({**self._envelope(asked, truth, kind, [choice]), **more})

        self._begin_stream(truth.request_id)
        self.server.engine.generate(asked.ids, truth, lambda token: send(word(token)))
        if asked.include_usage:
            send("", "length")
            self._event({**self._envelope(asked, truth, kind, []), **accounts(truth)})
        else:
            # The last chunk carries the timings all the same, as llama.cpp's does.
            send("", "length", **{k: v for k, v in accounts(truth).items() if k != "usage"})
        self._end_stream()

    def _send_whole(self, asked: Completion, truth: Truth) -> None:
        words: list[str] = []
        self.server.engine.generate(asked.ids, truth, lambda token: words.append(word(token)))
        text, kind = "".join(words), "chat.completion" if asked.chat else "text_completion"
        part = {"message": {"role": "assistant", "content": text}} if asked.chat else {"text": text}
        choice = {"index": 0, "finish_reason": "length", **part}
        self._send_json(200, {**self._envelope(asked, truth, kind, [choice]), **accounts(truth)})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one, which is printed")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="8b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--context", type=int, default=16_384, help=f"tokens, a multiple of {BLOCK} (default 16384)")
    parser.add_argument("--truth", metavar="FILE", help="append each request's stage boundaries to this JSONL file")
    arguments = parser.parse_args()
    if arguments.context < BLOCK or arguments.context % BLOCK:
        parser.error(f"--context must be a multiple of {BLOCK}")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    model = build(arguments.shape, arguments.device, arguments.context)
    # Only now: a signal that comes while the model is built ends the process at once.
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    truth = open(arguments.truth, "a", encoding="utf-8") if arguments.truth else None
    engine = Engine(model, truth)
    with Server((arguments.host, arguments.port), engine, f"tracer-rig-{arguments.shape}") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"listening on http://{arguments.host}:{server.server_address[1]}", flush=True)
        stop.wait()
        engine.stopping.set()
        server.shutdown()
        # The request in flight ends with its next token; leaving while it is on the GPU could crash the interpreter.
        if not engine.busy.acquire(timeout=10):
            log("a request is still running")
            return 1
    if truth:
        truth.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
