"""The model at work: tokens in, tokens out, one request at a time, with the true instants of each stage."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TextIO

import torch

from llama import SHAPES, Llama

# A stand-in for a tokeniser, which would have to be downloaded: English words, punctuation marks and up to three
# digits at a time are one token each, near to what o200k counts for prose. Longer words are not split further.
PIECE = re.compile(r"\d{1,3}|[^\W\d]+|[^\w\s]")


def tokenise(text: str, vocab: int) -> list[int]:
    # crc32 rather than hash(), which differs from process to process.
    return [zlib.crc32(piece.encode("utf-8", "surrogatepass")) % vocab for piece in PIECE.findall(text)]


SYLLABLES = [c + v for c in "bdfghjklmnprstvz" for v in "aeiou"]


def word(token: int) -> str:
    """The text of a token: a space and three syllables (512,000 words), one token when tokenised again."""
    n = len(SYLLABLES)
    return " " + SYLLABLES[token // n // n % n] + SYLLABLES[token // n % n] + SYLLABLES[token % n]


@dataclass
class Truth:
    """When a request's stages were, CLOCK_MONOTONIC in ns. A stage that never began is None."""

    request_id: str
    prompt_tokens: int
    max_tokens: int
    arrival_ns: int
    prefill_start_ns: int | None = None
    first_token_ns: int | None = None
    end_ns: int | None = None  # the last token left the GPU
    completion_tokens: int = 0
    status: str = "queued"  # complete, cancelled (the client left), stopped (the server did), error


def ms(start_ns: int, end_ns: int) -> float:
    return (end_ns - start_ns) / 1e6


class Stopping(Exception):
    """The server is about to exit: no further token will be made."""


class Engine:
    """One model, one request on it at a time."""

    def __init__(self, model: Llama, truth: TextIO | None):
        self.model = model
        self.truth = truth
        self.busy = threading.Lock()
        self.stopping = threading.Event()

    def generate(self, ids: list[int], t: Truth, emit: Callable[[int], None]) -> None:
        """Calls emit for each of t.max_tokens tokens, as soon as the GPU has made it."""
        with self.busy, torch.inference_mode():
            try:
                self._generate(ids, t, emit)
                t.status = "complete"
            except ConnectionError:
                t.status = "cancelled"
                raise
            except Stopping:
                t.status = "stopped"
                raise
            except Exception:
                t.status = "error"
                raise
            finally:
                t.end_ns = t.end_ns or time.monotonic_ns()
                self._record(t)

    def _generate(self, ids: list[int], t: Truth, emit: Callable[[int], None]) -> None:
        self._check_stopping()
        self.model.settle()  # a step of a request whose client left may still run
        t.prefill_start_ns = time.monotonic_ns()
        self.model.prefill(ids)
        self.model.settle()
        token = self.model.token_id()
        t.first_token_ns = time.monotonic_ns()
        while True:
            t.completion_tokens += 1
            if t.completion_tokens == t.max_tokens:
                t.end_ns = time.monotonic_ns()
                emit(token)
                return
            if self.model.graphs:
                self.model.step()  # returns at once: the GPU works on the next token while this one is sent
                emit(token)
            else:
                emit(token)  # an eager step takes milliseconds to launch
                self.model.step()
            self._check_stopping()
            token = self.model.token_id()

    def _check_stopping(self) -> None:
        if self.stopping.is_set():
            raise Stopping

    def _record(self, t: Truth) -> None:
        if self.truth:
            self.truth.write(json.dumps(asdict(t)) + "\n")
            self.truth.flush()


def warm(model: Llama) -> None:
    """Pays for what only a first call costs: kernels loaded on first use, and the allocator's memory, which the longest
    prompt takes once and shorter ones then share. Prints what a prompt and a token cost."""
    for length in (16, 50, 100, 1000, 10_000, model.context - 65):
        if length > model.context - 65:
            continue
        for _ in range(2):
            model.settle()
            start = time.monotonic_ns()
            model.prefill([i * 7919 % model.shape.vocab for i in range(length)])
            model.settle()
            prefill = ms(start, time.monotonic_ns())
        start = time.monotonic_ns()
        for _ in range(64):
            model.step()
            model.token_id()
        decode = ms(start, time.monotonic_ns()) / 64
        log(f"{length} tokens: prefill {prefill:.2f} ms, then {decode:.3f} ms per token")


def log(message: str) -> None:
    print(f"rig: {message}", file=sys.stderr, flush=True)


@torch.inference_mode()
def build(shape_name: str, device: str, context: int) -> Llama:
    shape = SHAPES[shape_name]
    # bf16 is what the GPU is measured in; CPUs mostly emulate it.
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    start = time.monotonic()
    if device == "cuda":
        # cuDNN's attention compiles a plan for each new prompt length, which would be counted as prefill.
        if hasattr(torch.backends.cuda, "enable_cudnn_sdp"):
            torch.backends.cuda.enable_cudnn_sdp(False)
        log(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    else:
        # The operators of a tiny model are shorter than the hand-over between threads.
        torch.set_num_threads(1)
        log(f"torch {torch.__version__}, {device}")
    model = Llama(shape, context, device, dtype)
    model.settle()
    log(f"{shape.parameters:,} random parameters in {time.monotonic() - start:.1f} s")
    if device == "cuda":
        start = time.monotonic()
        if model.capture():
            log(f"{len(model.graphs)} CUDA graphs in {time.monotonic() - start:.1f} s")
    warm(model)
    return model
