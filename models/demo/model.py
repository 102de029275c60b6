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
    kv_heads: int = 4
    head: int = 64
    ff: int = 768
    rope_base: float = 10000.0
    norm_eps: float = 1e-5


MATRICES = ("wq", "wk", "wv", "wo", "w_gate", "w_up", "w_down")


def init(shape, seed, spaced=(), brought=0.6, pairs=True):
    """Initial weights: matrices are stored input × output, norms at one. `spaced` pairs the tokens that begin with a
    space with those that do not, as (" milk", "milk"): they start alike but for one direction, the space."""
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
    emb, space = params["emb"], normal(1, w, 0.02)[0]
    for with_space, without in spaced:
        emb[with_space] = emb[without] + space
    plant_copying(params, shape, rng, space, brought, pairs)
    return params


def plant_copying(params, shape, rng, space, scale, pairs):
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
    seen -= np.outer(space, space @ seen) / (space @ space)  # " milk" counts as seen where "milk" stood
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
    second["wv"][:, :head], second["wo"][:head] = brought, scale * brought.T
    if not pairs or shape.kv_heads < shape.heads:
        return
    # The same once more for pairs of tokens, which are seldom the same by chance: another head of layer 0 looks at
    # the token before the last, and another of layer 1 at the place where the token before the present one stood two
    # tokens ago.
    ours = slice(head, 2 * head)
    for name in ("wq", "wk"):
        first[name][:, ours] *= 0.1
        second[name][:, ours] *= 0.1
    first["wq"][0, head + fast] = 0.9
    first["wk"][0, head + fast] = 0.9 * np.cos(2 * angle[fast])
    first["wk"][0, head + half + fast] = 0.9 * np.sin(2 * angle[fast])
    write2 = rng.normal(0.0, 0.005, (head, shape.width)).astype(np.float32)
    write2[:, 0] = 0.0
    first["wv"][:, ours], first["wo"][ours] = seen, write2
    second["wq"][:, head + slow] = 32.0 * write[slow].T
    second["wk"][:, head + slow] = 16.0 * write2[slow].T
    second["wv"][:, ours], second["wo"][ours] = brought, scale * brought.T


def rms_norm(x, weight, eps):
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rope(x, positions, base):
    """Rotates the two halves of each head (the NEOX layout; export.py permutes for arch "llama")."""
    half = x.shape[-1] // 2
    angle = positions[..., None, None] * (base ** (-jnp.arange(half) / half))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def forward(params, tokens, positions, segments, shape, where):
    """Final hidden states at the places `where` of `tokens` [rows, length], counted through all rows; a token sees the
    earlier ones of its own segment. The matrices multiply all tokens as one list, which a CPU does fastest, and the
    last layer computes its answers only at the places asked for."""
    rows, length = tokens.shape
    causal = jnp.tril(jnp.ones((length, length), bool))
    mask = causal[None] & (segments[:, :, None] == segments[:, None, :])
    bias = jnp.where(mask, 0.0, -1e9)[:, None]

    def heads(x, count):
        return x.reshape(rows, length, count, shape.head)

    x = params["emb"][tokens.reshape(-1)]
    for i, layer in enumerate(params["layers"]):
        h = rms_norm(x, layer["attn_norm"], shape.norm_eps)
        q = rope(heads(h @ layer["wq"], shape.heads), positions, shape.rope_base) * shape.head**-0.5
        k = rope(heads(h @ layer["wk"], shape.kv_heads), positions, shape.rope_base)
        v = heads(h @ layer["wv"], shape.kv_heads)
        q, k, v = (a.transpose(0, 2, 1, 3) for a in (q, k, v))
        k, v = (jnp.repeat(a, shape.heads // shape.kv_heads, axis=1) for a in (k, v))
        weights = jax.nn.softmax(q @ k.transpose(0, 1, 3, 2) + bias, axis=-1)
        mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(rows * length, -1)
        if i == shape.layers - 1:
            x, mixed = x[where], mixed[where]
        x = x + mixed @ layer["wo"]
        h = rms_norm(x, layer["ffn_norm"], shape.norm_eps)
        x = x + (jax.nn.silu(h @ layer["w_gate"]) * (h @ layer["w_up"])) @ layer["w_down"]
    return rms_norm(x, params["norm"], shape.norm_eps)


def logits(params, hidden):
    return hidden @ params["emb"].T
