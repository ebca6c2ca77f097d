"""The model's arithmetic, on a CPU, and its CUDA graphs where there is a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from engine import tokenise, word  # noqa: E402
from llama import BLOCK, SHAPES, Llama  # noqa: E402

TINY = SHAPES["tiny"]
CONTEXT = 2048


def random_ids(n: int) -> list[int]:
    return torch.randint(TINY.vocab, (n,), generator=torch.Generator().manual_seed(n)).tolist()


def tiny(device: str = "cpu", dtype: torch.dtype = torch.float32) -> Llama:
    return Llama(TINY, CONTEXT, device, dtype)


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("grouped", (True, False))
@pytest.mark.parametrize("length", (1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 4 * BLOCK + 3))
def test_decoding_one_by_one_agrees_with_a_full_forward_pass(length: int, grouped: bool):
    model, fresh = tiny(), tiny()
    model.grouped_sdpa = fresh.grouped_sdpa = grouped
    ids = random_ids(length + 4)
    model.prefill(ids[:length])
    for n in range(length, len(ids)):
        model.token.fill_(ids[n])
        logits = model.decode_logits(model._bucket())
        model.position.add_(1)
        model.length += 1
        torch.testing.assert_close(logits, fresh.prompt_logits(ids[: n + 1]), rtol=1e-4, atol=1e-5)


def test_steps_choose_what_full_forward_passes_would():
    model, fresh, ids = tiny(), tiny(), random_ids(BLOCK - 3)
    model.prefill(ids)
    for _ in range(8):  # over the edge of a block
        ids.append(model.token_id())
        model.step()
        assert model.token_id() == fresh.prompt_logits(ids).argmax().item()


def test_a_longer_earlier_prompt_leaves_no_trace():
    model, fresh, ids = tiny(), tiny(), random_ids(20)
    model.prefill(random_ids(5 * BLOCK))
    for m in (model, fresh):
        m.prefill(ids)
        m.step()
    assert model.position.item() == len(ids) + 1
    torch.testing.assert_close(model.decode_logits(8), fresh.decode_logits(1))


def test_the_last_position_of_the_context_can_be_filled_and_no_more():
    model = tiny()
    model.prefill(random_ids(CONTEXT - 1))
    model.step()
    with pytest.raises(ValueError, match="full"):
        model.step()
    with pytest.raises(ValueError, match="fit"):
        model.prefill(random_ids(CONTEXT + 1))


def test_it_is_the_llama_of_transformers():
    transformers = pytest.importorskip("transformers")
    s, model = TINY, tiny()
    config = transformers.LlamaConfig(
        vocab_size=s.vocab,
        hidden_size=s.hidden,
        num_hidden_layers=s.layers,
        num_attention_heads=s.heads,
        num_key_value_heads=s.kv_heads,
        head_dim=s.head_dim,
        intermediate_size=s.intermediate,
        rms_norm_eps=s.norm_eps,
        rope_theta=s.rope_theta,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
    )
    config.rope_parameters = {"rope_type": "default", "rope_theta": s.rope_theta}  # where 5.x keeps it
    reference = transformers.LlamaForCausalLM(config).eval()
    weights = {
        "model.embed_tokens.weight": model.embedding,
        "model.norm.weight": model.norm,
        "lm_head.weight": model.head,
    }
    kv = s.kv_heads * s.head_dim
    for i, layer in enumerate(model.layers):
        q, k, v = layer.qkv.split((s.heads * s.head_dim, kv, kv))
        gate, up = layer.gate_up.chunk(2)
        names = {
            "self_attn.q_proj": q,
            "self_attn.k_proj": k,
            "self_attn.v_proj": v,
            "self_attn.o_proj": layer.out,
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": layer.down,
            "input_layernorm": layer.attention_norm,
            "post_attention_layernorm": layer.mlp_norm,
        }
        weights |= {f"model.layers.{i}.{name}.weight": w for name, w in names.items()}
    reference.load_state_dict({name: w.clone() for name, w in weights.items()})
    assert sum(p.numel() for p in reference.parameters()) == s.parameters

    ids = random_ids(300)
    expected = reference(torch.tensor([ids])).logits[0, -1:]
    torch.testing.assert_close(model.prompt_logits(ids), expected, rtol=1e-4, atol=1e-5)


def test_the_large_shape_is_llama_3_8b():
    assert SHAPES["8b"].parameters == 8_030_261_248


def test_a_step_asks_the_device_for_nothing():
    fake = pytest.importorskip("torch._subclasses.fake_tensor")
    with fake.FakeTensorMode():
        model = tiny()
        model._eager_step(4)
        with pytest.raises(fake.DataDependentOutputException):  # the check bites
            model.token_id()


def test_decoding_goes_on_eagerly_where_graphs_cannot_be_captured(capfd, monkeypatch):
    def refuse(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "Stream", refuse)
    model, fresh = tiny(), tiny()
    assert not model.capture()
    assert "CUDA graphs are off" in capfd.readouterr().err
    for m in (model, fresh):
        m.prefill(random_ids(9))
        m.step()
    assert model.token_id() == fresh.token_id()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("length", (5, BLOCK - 2, 4 * BLOCK - 2))
def test_graphs_replay_what_eager_steps_do(length: int):
    graphed, eager = tiny("cuda"), tiny("cuda")
    assert graphed.capture()
    for m in (graphed, eager):
        m.prefill(random_ids(length))
    for _ in range(8):
        assert graphed.token_id() == eager.token_id()
        graphed.step()
        eager.step()
    torch.testing.assert_close(graphed.keys, eager.keys, rtol=1e-4, atol=1e-5)


def test_tokens_are_words_marks_and_digits():
    assert len(tokenise("Summarize in 1 word.", 1024)) == 5
    assert len(tokenise("  It's\n2024…  naïve_case ", 1024)) == 7  # It ' s 202 4 … naïve_case
    assert tokenise("", 1024) == []
    text = "".join(word(i) for i in range(0, 128_256, 97))
    assert len(tokenise(text, 128_256)) == len(range(0, 128_256, 97))
    assert len({word(i) for i in range(128_256)}) == 128_256
