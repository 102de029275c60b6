"""The demo model in JAX: a small Llama (RMSNorm, RoPE, SwiGLU, grouped queries, tied embeddings).

Holds the shape, the initial weights and the forward pass. Training is in train.py and
the export to GGUF in export.py.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Shape(NamedTuple):
    """The sizes of the model; every matrix's input width is a multiple of 256, as K-quants need."""

    vocab: int = 2048
    width: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head: int = 64
    ff: int = 768
    rope_base: float = 10000.0
    norm_eps: float = 1e-5


MATRICES = ("wq", "wk", "wv", "wo", "w_gate", "w_up", "w_down")


def init(shape, seed):
    """Initial weights: matrices are stored input × output, norms at one."""
    rng = np.random.default_rng(seed)

    def normal(rows, columns, scale):
        return rng.normal(0.0, scale, (rows, columns)).astype(np.float32)

    w, kv, out = shape.width, shape.kv_heads * shape.head, 0.02
    layers = []
    for _ in range(shape.layers):
        layers.append(
            {
                "wq": normal(w, shape.heads * shape.head, w**-0.5),
                "wk": normal(w, kv, w**-0.5),
                "wv": normal(w, kv, w**-0.5),
                "wo": normal(shape.heads * shape.head, w, w**-0.5 * out),
                "w_gate": normal(w, shape.ff, w**-0.5),
                "w_up": normal(w, shape.ff, w**-0.5),
                "w_down": normal(shape.ff, w, shape.ff**-0.5 * out),
                "attn_norm": np.ones(w, np.float32),
                "ffn_norm": np.ones(w, np.float32),
            }
        )
    params = {"emb": normal(shape.vocab, w, 0.05), "layers": layers, "norm": np.ones(w, np.float32)}
    plant_copying(params, shape, rng)
    return params


def plant_copying(params, shape, rng):
    """Starts the model with what copying needs, which takes a small model long to find: a head of layer 0 that looks
    at the token before, and a head of layer 1 that looks for the place where the present token stood before and
    brings the token that followed there. Training is free to change all of it."""
    emb, first, second = params["emb"], params["layers"][0], params["layers"][1]
    head, half = shape.head, shape.head // 2
    angle = shape.rope_base ** (-np.arange(half) / half)
    emb[:, 0] = 0.4  # the same for every token: what a head that goes by position alone can hold on to
    for name in ("wq", "wk"):
        first[name][:, :head] *= 0.1
    fast = np.arange(8)
    first["wq"][0, fast] = 0.9
    first["wk"][0, fast] = 0.9 * np.cos(angle[fast])
    first["wk"][0, half + fast] = 0.9 * np.sin(angle[fast])
    seen = rng.normal(0.0, shape.width**-0.5, (shape.width, head)).astype(np.float32)
    seen[0] = 0.0
    write = rng.normal(0.0, 0.005, (head, shape.width)).astype(np.float32)
    write[:, 0] = 0.0
    first["wv"][:, :head], first["wo"][:head] = seen, write

    slow = np.concatenate([np.arange(12, half), half + np.arange(12, half)])
    for name in ("wq", "wk"):
        second[name][:, :head] *= 0.1
    second["wq"][:, slow] = 3.0 * seen[:, slow]
    second["wk"][:, slow] = 16.0 * write[slow].T
    brought = rng.normal(0.0, shape.width**-0.5, (shape.width, head)).astype(np.float32)
    brought[0] = 0.0
    second["wv"][:, :head], second["wo"][:head] = brought, 2.0 * brought.T


def rms_norm(x, weight, eps):
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rope(x, positions, base):
    """Rotates the two halves of each head (the NEOX layout; export.py permutes for arch "llama")."""
    half = x.shape[-1] // 2
    angle = positions[..., None, None] * (base ** (-jnp.arange(half) / half))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def forward(params, tokens, positions, segments, shape):
    """Final hidden states of `tokens` [rows, length]; a token sees the earlier ones of its own segment."""
    rows, length = tokens.shape
    group = shape.heads // shape.kv_heads
    causal = jnp.tril(jnp.ones((length, length), bool))
    mask = causal[None] & (segments[:, :, None] == segments[:, None, :])
    bias = jnp.where(mask, 0.0, -1e9)[:, None, None]
    x = params["emb"][tokens]
    for layer in params["layers"]:
        h = rms_norm(x, layer["attn_norm"], shape.norm_eps)
        q = (h @ layer["wq"]).reshape(rows, length, shape.heads, shape.head)
        k = (h @ layer["wk"]).reshape(rows, length, shape.kv_heads, shape.head)
        v = (h @ layer["wv"]).reshape(rows, length, shape.kv_heads, shape.head)
        q = rope(q, positions, shape.rope_base) * shape.head**-0.5
        k = rope(k, positions, shape.rope_base)
        q = q.reshape(rows, length, shape.kv_heads, group, shape.head)
        scores = jnp.einsum("btkgh,bskh->bkgts", q, k) + bias
        mixed = jnp.einsum("bkgts,bskh->btkgh", jax.nn.softmax(scores, axis=-1), v)
        x = x + mixed.reshape(rows, length, -1) @ layer["wo"]
        h = rms_norm(x, layer["ffn_norm"], shape.norm_eps)
        x = x + (jax.nn.silu(h @ layer["w_gate"]) * (h @ layer["w_up"])) @ layer["w_down"]
    return rms_norm(x, params["norm"], shape.norm_eps)


def logits(params, hidden):
    return hidden @ params["emb"].T
