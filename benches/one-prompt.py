#!/usr/bin/env python3
"""Several requests at once behind one long prompt that no cache has seen: wattlmd beside llama-server on the same file.

Each round makes a new prompt of about --prompt tokens and sends --together requests behind it at once, each with a few words
of its own and --generate tokens to answer, greedy, with end-of-generation tokens suppressed. Timed is from the first request
sent to the last answer complete, at the client's end, and when the last of them had its first token. The programs take turns,
so that a noisy machine disturbs both alike; the table shows medians and the ratio. Two bounds of wattlm's own stand beside it,
measured in the same rounds: the same requests behind a prompt each, which nobody can share, and one request alone. Only the
standard library is used.

    benches/one-prompt.py --model qwen.gguf --llama-server llama-server

The peer may be any command (a chroot, a container); name the file as it sees it with --peer-model.
"""

import argparse
import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path

from peers import Daemon, Server, words

ROOT = Path(__file__).resolve().parent.parent


def stream(connection, path, body):
    """Sends a request and reads its stream; gives when its first token and its end came."""
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"{path}: {response.read().decode()}")
    first = None
    for line in response:
        if line.startswith(b"data: {"):
            if "error" in json.loads(line[6:]):
                sys.exit(line.decode())
            first = first or time.monotonic()
    return first, time.monotonic()


def together(program, prompts):
    """Sends all at once; seconds until the last has its first token, and until the last has ended."""
    times = [None] * len(prompts)

    def one(i):
        times[i] = program.ask(prompts[i])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(prompts))]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if None in times:
        sys.exit("a request failed")
    return max(first for first, _ in times) - begun, max(end for _, end in times) - begun


class Wattlm(Daemon):
    """A daemon of our own."""

    def __init__(self, args, context):
        super().__init__(
            args.wattlmd, args.model,
            f"[models]\ncontext = {context}\nslots = {args.together}\nidle_unload = '0'\n[gpu]\nenabled = false\n"
            f"[cpu]\nthreads = {args.threads}\nprefill_chunk = 512\n",
        )
        self.generate = args.generate
        self.ask("begin")

    def ask(self, prompt):
        body = {"prompt": prompt, "max_tokens": self.generate, "temperature": 0, "stream": True, "ignore_eos": True}
        return stream(self.connect(), "/v1/completions", body)

    def tokens(self, prompt):
        c = self.connect()
        c.request("POST", "/v1/completions", json.dumps({"prompt": prompt, "max_tokens": 1}),
                  {"Content-Type": "application/json"})
        return json.loads(c.getresponse().read())["usage"]["prompt_tokens"]


class LlamaServer(Server):
    """llama-server with as many slots, and one cache for all of them."""

    def __init__(self, args, context):
        super().__init__(args.llama_server, ["-m", args.peer_model, "-t", str(args.threads), "-kvu",
                                             "-np", str(args.together), "-c", str(context)])
        self.generate = args.generate
        self.ask("begin")

    def ask(self, prompt):
        body = {"prompt": prompt, "n_predict": self.generate, "temperature": 0, "stream": True, "ignore_eos": True,
                "cache_prompt": True}
        return stream(self.connect(), "/completion", body)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--peer-model", help="the file as the peer sees it")
    p.add_argument("--wattlmd", default=ROOT / "target/release/wattlmd")
    p.add_argument("--llama-server")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--together", type=int, default=4)
    p.add_argument("--prompt", type=int, default=512)
    p.add_argument("--generate", type=int, default=16)
    p.add_argument("--rounds", type=int, default=5)
    # What scripts/bench passes on to vs-llama.py.
    p.add_argument("--llama-bench", help=argparse.SUPPRESS)
    p.add_argument("--json", action="store_true")
    args = p.parse_args()
    args.peer_model = args.peer_model or args.model

    context = 2 * args.together * (args.prompt + args.generate + 64)
    programs, rounds = {}, []
    try:
        ours = programs["wattlm"] = Wattlm(args, context)
        if args.llama_server:
            programs["llama-server"] = LlamaServer(args, context)
        # How many words make the wanted number of tokens.
        count = max(1, args.prompt // 4 * args.prompt // max(1, ours.tokens(words(args.prompt // 4, -1))))
        for i in range(args.rounds):
            # No two programs, and no two rounds, get the same words.
            def prompts(shared, seed):
                begin = [words(count, f"{i} {seed} {0 if shared else k}") for k in range(args.together)]
                return [f"{text} {words(4, f'{i} {seed} end {k}')}" for k, text in enumerate(begin)]

            row = {name: together(program, prompts(True, name)) for name, program in programs.items()}
            row["a prompt each"] = together(ours, prompts(False, "each"))
            row["one alone"] = together(ours, prompts(True, "alone")[:1])
            rounds.append(row)
            print(f"round {i + 1} of {args.rounds}", file=sys.stderr)
    finally:
        for program in programs.values():
            program.close()

    median = {name: [statistics.median(r[name][k] for r in rounds) for k in (0, 1)] for name in rounds[0]}
    if args.json:
        print(json.dumps({"model": Path(args.model).name, "threads": args.threads, "together": args.together,
                          "load": os.getloadavg(), "median": median, "rounds": rounds}))
        return
    print(f"{Path(args.model).name}, {args.threads} threads, {args.together} at once behind about {args.prompt} tokens, "
          f"{args.generate} tokens each; load average {os.getloadavg()[0]:.1f}; medians of {args.rounds} rounds")
    for name, (first, end) in median.items():
        ratio = "" if name == "wattlm" else f"  ({end / median['wattlm'][1]:.2f} of wattlm's)"
        print(f"{name:14} all have a first token after {first:6.2f} s, all have ended after {end:6.2f} s{ratio}")


if __name__ == "__main__":
    main()
