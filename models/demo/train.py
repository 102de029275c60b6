"""Trains the demo model: generates the data, trains the tokenizer, then the weights, on two CPU cores in about an
hour.

The matrices of the layers learn with Muon, the embedding and the norms with AdamW, at a rate that stays
level at first and then falls to zero; the loss counts the answers' tokens only. Rows of 128 tokens hold several
conversations side by side, each blind to the others; one batch in sixteen has rows of 512 tokens instead. The result
(weights.npz, tokenizer.json) goes to --out; export.py makes the GGUF file from it.
"""

import argparse
import collections
import json
import os
import random
import time

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import data
import model

IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
SPECIAL = [END_OF_TEXT, IM_START, IM_END]
SYSTEMS = (
    "You are a helpful assistant.|You are a smart home assistant.|Answer with one JSON command.|You control a house."
    "|Turn the user's words into a command.|You are wattlm-demo.|Be brief.|You are an on-device assistant. Answer only"
    " with JSON.|You are a voice assistant for a flat with several rooms."
).split("|")
LONG = 512
SHORT = 128


def train_tokenizer(texts, size, spaced):
    """Byte-level BPE that writes a word with the same tokens wherever it stands, which makes copying it easy.

    The merges are learned on words without their spaces and on single digits. Then a space may join the token
    that begins a word, as the last merges of all and for the `spaced` most frequent such tokens: " milk" differs
    from "milk" in its first token only.
    """
    tokenizer = Tokenizer(models.BPE())
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            bytes_only,
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size - spaced,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = bytes_only
    tokenizer.decoder = decoders.ByteLevel()

    space, firsts = "\u0120", collections.Counter()
    for encoded in tokenizer.encode_batch(texts):
        after = zip(encoded.tokens, encoded.tokens[1:])
        firsts.update(second for first, second in after if first == space and not second.isdigit() and second != space)
    whole = json.loads(tokenizer.to_str())
    vocab, merges = whole["model"]["vocab"], whole["model"]["merges"]
    for token, _ in sorted(firsts.items(), key=lambda item: (-item[1], item[0]))[:spaced]:
        vocab[space + token] = len(vocab)
        merges.append([space, token])
    return Tokenizer.from_str(json.dumps(whole))


def spaced_tokens(tokenizer):
    """The tokens that begin with a space, each with the one that is the same without it."""
    vocab = tokenizer.get_vocab()
    return sorted((i, vocab[t[1:]]) for t, i in vocab.items() if len(t) > 1 and t[0] == "\u0120" and t[1:] in vocab)


def turn(say):
    return f"{IM_START}user\n{say}{IM_END}\n{IM_START}assistant\n"


class Rows:
    """Endless packed batches: tokens, positions, segments, and where the next token is to be learned."""

    def __init__(self, tokenizer, samples, seed):
        self.rng = random.Random(f"rows {seed}")
        self.samples, self.at = samples, 0
        self.prompts = [e.ids for e in tokenizer.encode_batch([turn(s["say"]) for s in samples])]
        self.answers = [e.ids for e in tokenizer.encode_batch([s["answer"] + IM_END for s in samples])]
        self.newline = tokenizer.encode("\n").ids
        self.systems = [tokenizer.encode(f"{IM_START}system\n{s}{IM_END}\n").ids for s in SYSTEMS]
        self.waiting, self.vocab = None, tokenizer.get_vocab_size()

    def exchange(self):
        at = self.at
        self.at = (at + 1) % len(self.samples)
        return self.prompts[at], self.answers[at]

    def conversation(self, turns):
        ids, learn = [], []
        if self.rng.random() < 0.08:
            ids += self.rng.choice(self.systems)
        learn += [0] * len(ids)
        for i in range(turns):
            prompt, answer = self.exchange()
            if i:
                ids, learn = ids + self.newline, learn + [0] * len(self.newline)
            ids, learn = ids + prompt + answer, learn + [0] * len(prompt) + [1] * len(answer)
        return ids, learn

    def echo(self):
        """Chance tokens that come again after a while: what teaches a small model to copy soonest."""
        chunk = [self.rng.randrange(len(SPECIAL), self.vocab) for _ in range(self.rng.randint(3, 14))]
        first, between = ([self.rng.randrange(self.vocab) for _ in range(self.rng.randint(0, 8))] for _ in range(2))
        ids = first + chunk + between + chunk
        return ids, [0] * (len(ids) - len(chunk) + 1) + [1] * (len(chunk) - 1)

    def batch(self, rows, length, echoes=0):
        tokens, positions, segments, learn = (np.zeros((rows, length), np.int32) for _ in range(4))
        segments -= 1
        for row in range(rows):
            at, segment = 0, 0
            while True:
                if row < echoes:
                    ids, flags = self.echo()
                elif length == LONG:
                    ids, flags = self.conversation(self.rng.choice((3, 6, 10)))
                elif self.waiting:
                    ids, flags = self.waiting
                else:
                    ids, flags = self.conversation(1 if self.rng.random() < 0.92 else 2)
                self.waiting = None
                if len(ids) > length:
                    continue
                if at + len(ids) > length:
                    self.waiting = (ids, flags) if len(ids) <= SHORT and row >= echoes else None
                    break
                to = at + len(ids)
                tokens[row, at:to], learn[row, at:to] = ids, flags
                positions[row, at:to], segments[row, at:to] = np.arange(len(ids)), segment
                at, segment = to, segment + 1
        places = np.flatnonzero(np.pad(learn[:, 1:], ((0, 0), (0, 1))))[: rows * length // 2]
        where = np.full(rows * length // 2, -1, np.int32)
        where[: len(places)] = places
        return tokens, positions, segments, where


def loss_of(params, batch, shape):
    tokens, positions, segments, where = batch
    weight, where = where >= 0, jnp.maximum(where, 0)
    scores = model.logits(params, model.forward(params, tokens, positions, segments, shape, where))
    wanted = tokens.reshape(-1)[where + 1]
    lost = jax.nn.logsumexp(scores, axis=-1) - jnp.take_along_axis(scores, wanted[:, None], axis=-1)[:, 0]
    return jnp.sum(lost * weight) / jnp.maximum(jnp.sum(weight), 1)


def orthogonal(g):
    """Newton-Schulz steps towards the nearest (semi-)orthogonal matrix, as Muon uses them."""
    tall = g.shape[0] > g.shape[1]
    x = g.T if tall else g
    x = x / (jnp.linalg.norm(x) + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if tall else x


def make_step(shape, steps, level, muon_rate, adam_rate, decay, warm=100):
    def is_matrix(path):
        return path[-1].key in model.MATRICES

    def step(params, first, second, number, batch):
        loss, grads = jax.value_and_grad(loss_of)(params, batch, shape)
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(grads)))
        grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, 1.0 / (norm + 1e-6)), grads)
        slow = jnp.minimum(jnp.minimum(1.0, (number + 1) / warm), (steps - number) / (steps - level))

        def one(path, p, g, m, v):
            if is_matrix(path):
                m = 0.95 * m + g
                change = orthogonal(g + 0.95 * m) * (0.2 * max(p.shape) ** 0.5)
                return p - slow * muon_rate * (change + decay * p), m, v
            m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g * g
            t = number + 1
            change = (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.98**t)) + 1e-8)
            return p - slow * adam_rate * (change + (0.01 * p if p.ndim > 1 else 0)), m, v

        both = jax.tree_util.tree_map_with_path(one, params, grads, first, second)
        unzip = [jax.tree.map(lambda t: t[i], both, is_leaf=lambda t: isinstance(t, tuple)) for i in range(3)]
        return *unzip, loss

    return jax.jit(step, donate_argnums=(0, 1, 2))


def save(out, params, shape, state=None):
    flat = {"emb": params["emb"], "norm": params["norm"]}
    for i, layer in enumerate(params["layers"]):
        flat |= {f"{i}.{name}": value for name, value in layer.items()}
    np.savez(os.path.join(out, "weights.npz"), **{k: np.asarray(v) for k, v in flat.items()})
    with open(os.path.join(out, "shape.json"), "w") as f:
        json.dump(shape._asdict(), f)
    if state:
        leaves = jax.tree.leaves((params, *state[:2]))
        np.savez(os.path.join(out, "state.npz"), *[np.asarray(leaf) for leaf in leaves], done=state[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="build")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--level", type=int, default=1333, help="the rate falls from this step on")
    parser.add_argument("--samples", type=int, default=500000)
    parser.add_argument("--rows", type=int, default=32, help="rows of 128 tokens in a batch")
    parser.add_argument("--echo", type=int, default=2000, help="until this step a quarter of the rows are echoes")
    parser.add_argument("--resume", action="store_true", help="go on from the last state in --out")
    parser.add_argument("--minutes", type=float, default=0, help="stop early, to measure the speed")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    shape = model.Shape()

    began = time.time()
    generator = data.Generator(data.TRAIN, options.seed)
    samples = [generator.sample() for _ in range(options.samples)]
    path = os.path.join(options.out, "tokenizer.json")
    if options.resume:
        tokenizer = Tokenizer.from_file(path)
    else:
        texts = [turn(s["say"]).replace(IM_START, "").replace(IM_END, "") + s["answer"] for s in samples[:60000]]
        tokenizer = train_tokenizer(texts, shape.vocab, spaced=shape.vocab * 3 // 8)
        tokenizer.save(path)
    rows = Rows(tokenizer, samples, options.seed)
    mean = sum(len(p) + len(a) for p, a in zip(rows.prompts, rows.answers)) / len(samples)
    print(f"{len(samples)} samples of {mean:.1f} tokens, {time.time() - began:.0f} s", flush=True)

    params = jax.tree.map(jnp.asarray, model.init(shape, options.seed, spaced_tokens(tokenizer)))
    print(sum(p.size for p in jax.tree.leaves(params)), "parameters", flush=True)
    first, second = jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params)
    step = make_step(shape, options.steps, options.level, muon_rate=2e-3, adam_rate=1.5e-3, decay=0.1)
    done = 0
    if options.resume:
        state = np.load(os.path.join(options.out, "state.npz"))
        leaves = [jnp.asarray(state[f"arr_{i}"]) for i in range(len(state.files) - 1)]
        params, first, second = jax.tree.unflatten(jax.tree.structure((params, first, second)), leaves)
        done = int(state["done"])
    began, lost, tokens = time.time(), [], 0
    for number in range(options.steps):
        count, long = options.rows, number % 16 == 15
        echoes = count // 4 if number < options.echo else 0
        batch = rows.batch(count // 4, LONG) if long else rows.batch(count, SHORT, echoes)
        if number < done:
            continue
        params, first, second, loss = step(params, first, second, jnp.float32(number), batch)
        lost.append(loss)
        tokens += batch[0].size
        if number % 50 == 49:
            mean, spent = float(np.mean([float(x) for x in lost[-50:]])), time.time() - began
            speed = f"{tokens / spent:.0f} tokens/s, {spent:.0f} s, {time.process_time():.0f} s of CPU"
            print(f"step {number + 1} loss {mean:.4f} {speed}", flush=True)
        if number % 100 == 99:
            save(options.out, params, shape, (first, second, number + 1))
        if options.minutes and time.time() - began > 60 * options.minutes:
            break
    save(options.out, params, shape)


if __name__ == "__main__":
    main()
