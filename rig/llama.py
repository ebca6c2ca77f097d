"""A Llama with random weights, written for one sequence at a time.

Only what makes time and power real is kept: the shape, bf16, a KV cache, and one pass over all weights per token.
transformers is not used, because its decode loop spends 25 to 30 ms per token in Python for an 8B model, and a step
that can be captured as a CUDA graph costs what the memory costs (15 GB of weights at 4.3 TB/s: 3.5 ms).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F

# The KV cache is cut into blocks of this many positions, laid out [block, kv head, position, dim]. The first n blocks
# are then one contiguous batch for bmm: attention over a long context spreads over all multiprocessors, where a batch
# of 8 kv heads alone would fill 16 of the H200's 132.
BLOCK = 256


@dataclass(frozen=True)
class Shape:
    name: str
    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    rope_theta: float = 500_000.0
    norm_eps: float = 1e-5

    @property
    def parameters(self) -> int:
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.layers * layer + 2 * self.vocab * self.hidden + self.hidden


SHAPES = {
    # Llama-3-8B: config.json of meta-llama/Meta-Llama-3-8B, 8.03 billion parameters.
    "8b": Shape("8b", 128_256, 4096, 32, 32, 8, 128, 14_336),
    # The same structure at a size that a CPU serves, for tests.
    "tiny": Shape("tiny", 1024, 64, 2, 4, 2, 16, 160),
}


@dataclass
class Layer:
    attention_norm: torch.Tensor
    qkv: torch.Tensor  # query, key and value projections in one matrix: one pass over it per token
    out: torch.Tensor
    mlp_norm: torch.Tensor
    gate_up: torch.Tensor  # likewise
    down: torch.Tensor


class Llama:
    """One sequence: `prefill` replaces it, `step` launches the next token, `token_id` waits for it.

    Callers hold torch.inference_mode() and a lock: buffers are shared by all calls.
    """

    def __init__(self, shape: Shape, context: int, device: str, dtype: torch.dtype, seed: int = 0):
        if context % BLOCK:
            raise ValueError(f"context {context} is not a multiple of {BLOCK}")
        self.shape, self.context, self.dtype = shape, context, dtype
        self.device = torch.device(device)
        self.scale = shape.head_dim**-0.5
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.length = 0  # positions in the cache, known to the host without asking the device

        generator = torch.Generator(self.device).manual_seed(seed)

        def matrix(rows: int, columns: int) -> torch.Tensor:
            # 0.02 is the standard deviation that Llama itself is initialised with.
            return self._empty(rows, columns).normal_(0.0, 0.02, generator=generator)

        s = shape
        self.embedding = matrix(s.vocab, s.hidden)
        self.layers = [
            Layer(
                attention_norm=self._empty(s.hidden).fill_(1),
                qkv=matrix((s.heads + 2 * s.kv_heads) * s.head_dim, s.hidden),
                out=matrix(s.hidden, s.heads * s.head_dim),
                mlp_norm=self._empty(s.hidden).fill_(1),
                gate_up=matrix(2 * s.intermediate, s.hidden),
                down=matrix(s.hidden, s.intermediate),
            )
            for _ in range(s.layers)
        ]
        self.norm = self._empty(s.hidden).fill_(1)
        self.head = matrix(s.vocab, s.hidden)

        # Zeros, not empty: positions that no token has reached are multiplied by a weight of 0, and 0 * NaN is NaN.
        cache = (s.layers, context // BLOCK, s.kv_heads, BLOCK, s.head_dim)
        self.keys = torch.zeros(cache, device=self.device, dtype=dtype)
        self.values = torch.zeros(cache, device=self.device, dtype=dtype)

        self.positions = torch.arange(context, device=self.device)
        self.kv_head_index = torch.arange(s.kv_heads, device=self.device)
        self.cos, self.sin = self._rotary_tables()

        # What a step reads and writes: fixed addresses, as a CUDA graph needs them.
        self.token = torch.zeros(1, dtype=torch.long, device=self.device)
        self.position = torch.zeros(1, dtype=torch.long, device=self.device)

        self.grouped_sdpa = self._flash_takes_groups()

    def _empty(self, *size: int) -> torch.Tensor:
        return torch.empty(size, device=self.device, dtype=self.dtype)

    def _rotary_tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        s = self.shape
        exponent = torch.arange(0, s.head_dim, 2, device=self.device, dtype=torch.float32) / s.head_dim
        angle = self.positions.float()[:, None] * s.rope_theta**-exponent
        # Rotating a half is a roll with the first half negated; the sign lives in the table, which saves two kernels
        # per layer and token.
        cos = torch.cat((angle.cos(), angle.cos()), -1)
        sin = torch.cat((-angle.sin(), angle.sin()), -1)
        return cos.to(self.dtype)[:, None], sin.to(self.dtype)[:, None]

    def _flash_takes_groups(self) -> bool:
        """Whether flash attention serves fewer key than query heads (torch 2.5 and later, CUDA).

        Asked of that kernel alone: the kernel that would step in for it writes out all scores, 13 GB per layer for
        10,000 tokens.
        """
        s = self.shape
        query = torch.zeros(1, s.heads, 8, s.head_dim, device=self.device, dtype=self.dtype)
        key = query[:, : s.kv_heads]
        try:
            from torch.nn.attention import SDPBackend, sdpa_kernel

            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                F.scaled_dot_product_attention(query, key, key, is_causal=True, enable_gqa=True)
            return True
        except (ImportError, TypeError, RuntimeError):
            return False

    # -- one forward pass, in the parts that prefill and decode share --------------------------------------------------

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (self.shape.hidden,), weight, self.shape.norm_eps)

    def _project(self, layer: Layer, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor):
        """Rotated queries and keys, and values: [tokens, heads, dim]."""
        s = self.shape
        both, values = (
            F.linear(self._normed(x, layer.attention_norm), layer.qkv)
            .view(-1, s.heads + 2 * s.kv_heads, s.head_dim)
            .split((s.heads + s.kv_heads, s.kv_heads), 1)
        )
        both = torch.addcmul(both * cos, both.roll(s.head_dim // 2, -1), sin)
        queries, keys = both.split((s.heads, s.kv_heads), 1)
        return queries, keys, values

    def _feed_forward(self, layer: Layer, x: torch.Tensor) -> torch.Tensor:
        gate, up = F.linear(self._normed(x, layer.mlp_norm), layer.gate_up).chunk(2, -1)
        return F.linear(F.silu(gate) * up, layer.down)

    def _cache_rows(self, at: torch.Tensor) -> torch.Tensor:
        """Rows of the cache, seen as [block * kv head * position, dim], for each of these positions and kv heads."""
        block = torch.div(at, BLOCK, rounding_mode="floor")
        row = (block[:, None] * self.shape.kv_heads + self.kv_head_index) * BLOCK + (at % BLOCK)[:, None]
        return row.flatten()

    def _store(self, layer: int, rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        dim = self.shape.head_dim
        self.keys[layer].view(-1, dim).index_copy_(0, rows, keys.reshape(-1, dim))
        self.values[layer].view(-1, dim).index_copy_(0, rows, values.reshape(-1, dim))

    # -- prefill ------------------------------------------------------------------------------------------------------

    def _attend_prompt(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        q, k, v = (t.transpose(0, 1)[None] for t in (queries, keys, values))
        if self.grouped_sdpa:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        else:
            group = self.shape.heads // self.shape.kv_heads
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return out[0].transpose(0, 1).flatten(1)

    def prompt_logits(self, ids: list[int]) -> torch.Tensor:
        """Fills the cache with a prompt and returns the logits after its last token, [1, vocab]."""
        if not 0 < len(ids) <= self.context:
            raise ValueError(f"{len(ids)} tokens do not fit a context of {self.context}")
        at = self.positions[: len(ids)]
        cos, sin, rows = self.cos[: len(ids)], self.sin[: len(ids)], self._cache_rows(at)
        x = F.embedding(torch.tensor(ids, device=self.device), self.embedding)
        for i, layer in enumerate(self.layers):
            queries, keys, values = self._project(layer, x, cos, sin)
            self._store(i, rows, keys, values)
            x = x + F.linear(self._attend_prompt(queries, keys, values), layer.out)
            x = x + self._feed_forward(layer, x)
        # Only the last position is sampled: all of them would cost 2.6 GB and 10 TFLOP at 10,000 tokens.
        return F.linear(self._normed(x[-1:], self.norm), self.head)

    def prefill(self, ids: list[int]) -> None:
        """Launches the prompt and its first token; `token_id` waits for it."""
        self.token.copy_(self.prompt_logits(ids).argmax(-1))
        self.position.fill_(len(ids))
        self.length = len(ids)

    # -- decode -------------------------------------------------------------------------------------------------------

    def _attend_cache(self, layer: int, queries: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention of one token over the first blocks of the cache: [1, heads * dim]."""
        s, blocks = self.shape, mask.shape[0]
        group = s.heads // s.kv_heads
        keys = self.keys[layer, :blocks].flatten(0, 1)
        values = self.values[layer, :blocks].flatten(0, 1)

        spread = queries.view(s.kv_heads, group, s.head_dim).expand(blocks, -1, -1, -1).flatten(0, 1)
        scores = torch.bmm(spread, keys.transpose(1, 2)).view(blocks, s.heads, BLOCK)
        scores = torch.add(mask, scores, alpha=self.scale)  # float32, as the mask is
        weights = torch.softmax(scores.transpose(0, 1).reshape(s.heads, -1), -1)
        weights = weights.view(s.heads, blocks, BLOCK).transpose(0, 1)
        weights = weights.to(self.dtype, memory_format=torch.contiguous_format)
        partial = torch.bmm(weights.reshape(blocks * s.kv_heads, group, BLOCK), values)
        return partial.view(blocks, 1, s.heads * s.head_dim).sum(0)

    def decode_logits(self, blocks: int) -> torch.Tensor:
        """Puts `token` at `position` into the cache and returns the logits after it. Nothing here waits for the device
        or depends on a value on it, so that the call can be captured."""
        cos, sin = self.cos.index_select(0, self.position), self.sin.index_select(0, self.position)
        rows = self._cache_rows(self.position)
        visible = self.positions[: blocks * BLOCK].view(blocks, 1, BLOCK) <= self.position
        mask = torch.zeros(visible.shape, device=self.device).masked_fill_(~visible, float("-inf"))
        x = F.embedding(self.token, self.embedding)
        for i, layer in enumerate(self.layers):
            queries, keys, values = self._project(layer, x, cos, sin)
            self._store(i, rows, keys, values)
            x = x + F.linear(self._attend_cache(i, queries, mask), layer.out)
            x = x + self._feed_forward(layer, x)
        return F.linear(self._normed(x, self.norm), self.head)

    def _eager_step(self, blocks: int) -> None:
        self.token.copy_(self.decode_logits(blocks).argmax(-1))
        self.position.add_(1)

    def _bucket(self) -> int:
        """Blocks that the next step reads: few sizes, so few graphs, and at most 1,024 positions too many, so that
        time and power rise with the context rather than double at its powers of two."""
        needed = self.length // BLOCK + 1
        return next(b for b in self._buckets() if b >= needed)

    def _buckets(self) -> list[int]:
        last = self.context // BLOCK
        return sorted({b for b in (1, 2, *range(4, last, 4)) if b < last} | {last})

    def step(self) -> None:
        """Launches the token after `token`; `token_id` waits for it."""
        if self.length >= self.context:
            raise ValueError(f"the context of {self.context} is full")
        blocks = self._bucket()
        graph = self.graphs.get(blocks)
        if graph is None:
            self._eager_step(blocks)
        else:
            graph.replay()
        self.length += 1

    def token_id(self) -> int:
        """Waits for the device and reads the token that was launched last."""
        return int(self.token.item())

    def settle(self) -> None:
        """Waits until the device has nothing left to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    # -- CUDA graphs --------------------------------------------------------------------------------------------------

    def capture(self) -> bool:
        """Captures one graph per bucket; on any failure the model decodes eagerly and says so."""
        try:
            self.graphs = self._captured()
        except Exception as err:  # whatever the driver or this torch dislikes, eager decode still serves
            self.graphs = {}
            print(f"rig: CUDA graphs are off, decoding eagerly: {err!r}", file=sys.stderr, flush=True)
            self.settle()
        return bool(self.graphs)

    def _captured(self) -> dict[int, torch.cuda.CUDAGraph]:
        stream = torch.cuda.Stream(self.device)
        # One pool for all graphs: none keeps a tensor of its own beyond a replay, and replays never overlap.
        pool = torch.cuda.graph_pool_handle()
        graphs = {}
        for blocks in reversed(self._buckets()):  # the largest first, so that the pool grows once
            # Run on the side stream before it is captured: cuBLAS makes its workspace and loads its kernels then,
            # neither of which a capture allows.
            stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(stream):
                for _ in range(2):
                    self.position.fill_(blocks * BLOCK - 2)
                    self._eager_step(blocks)
            torch.cuda.current_stream(self.device).wait_stream(stream)
            self.settle()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=stream):
                self._eager_step(blocks)
            graphs[blocks] = graph
        self.settle()
        return graphs
