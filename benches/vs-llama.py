#!/usr/bin/env python3
"""Decode and prefill speed of wattlmd, through its socket, beside llama.cpp's own programs on the same file.

Each round runs every program once, in turn, so that a noisy machine disturbs all alike; the table shows medians and
wattlm's ratio to each peer. What is compared: the same GGUF file, the same number of threads, prefill of a prompt of
about --prompt tokens that no cache has seen, and decoding of --generate tokens after that prompt (llama-bench: at that
depth), greedy, with end-of-generation tokens suppressed. The cache has room for one such request, so that nobody
attends to what an earlier round left. wattlm is timed at the client's end of the socket: from sending the request to
the first token (prefill), and from the first token to the last (decode). llama-bench and llama-server report their
own times. Only the standard library is used.

    benches/vs-llama.py --model qwen.gguf --llama-bench llama-bench --llama-server llama-server

Peers may be any command (a chroot, a container); name the file as they see it with --peer-model. Which CPU kernels a
program loads decides more than anything else: compare like with like (`wattlm status` and the peers' logs tell).
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

from peers import Daemon, Server, words

ROOT = Path(__file__).resolve().parent.parent


class Wattlm(Daemon):
    """A daemon of our own with one slot."""

    def __init__(self, args):
        super().__init__(
            args.wattlmd, args.model,
            f"[models]\ncontext = {args.prompt + args.generate + 64}\nslots = 1\nidle_unload = '0'\n"
            f"[cpu]\nthreads = {args.threads}\nprefill_chunk = 512\n",
        )
        self.words = args.prompt // 4
        # How many words make the wanted number of tokens, and which tokens end an answer.
        tokens = self.ask(words(self.words, 0), 1)["usage"]["prompt_tokens"]
        # At most that many: beyond it a second, small chunk would be timed that llama-bench does not have.
        self.words = max(1, int(0.97 * self.words * args.prompt / tokens))
        self.status = self.get("/wattlm/v1/status")

    def get(self, path):
        c = self.connect()
        c.request("GET", path)
        return json.loads(c.getresponse().read())

    def ask(self, prompt, n):
        c = self.connect()
        body = {"prompt": prompt, "max_tokens": n, "temperature": 0, "stream": True, "ignore_eos": True,
                "stream_options": {"include_usage": True}}
        start = time.monotonic()
        c.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = c.getresponse()
        if response.status != 200:
            sys.exit(f"wattlmd: {response.read().decode()}")
        first = last = None
        final = {}
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                sys.exit(f"wattlmd: {event}")
            if any(choice.get("text") for choice in event["choices"]):
                last = time.monotonic()
                first = first or last
            if event.get("usage"):
                final = event
        return {"usage": final["usage"], "wattlm": final["wattlm"], "first": first - start, "rest": last - first}

    def run(self, args, round_):
        answer = self.ask(words(self.words, round_ + 1), args.generate)
        usage = answer["usage"]
        new = usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
        return {"prefill": new / answer["first"], "decode": (usage["completion_tokens"] - 1) / answer["rest"],
                "decode (in the worker)": answer["wattlm"]["decode_tokens_per_s"]}


class LlamaBench:
    """llama-bench, started anew each round as it is meant to be."""

    def __init__(self, args):
        self.command = shlex.split(args.llama_bench)

    def run(self, args, _round):
        base = [*self.command, "-m", args.peer_model, "-t", str(args.threads), "-r", "1", "-o", "json", "-ngl", "0"]

        def speed(*test):
            out = subprocess.run([*base, *test], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
            return json.loads(out)[0]["avg_ts"]

        return {"prefill": speed("-p", str(args.prompt), "-n", "0"),
                "decode": speed("-p", "0", "-n", str(args.generate), "-d", str(args.prompt))}

    def close(self):
        pass


class LlamaServer(Server):
    """llama-server with one slot."""

    def __init__(self, args):
        super().__init__(args.llama_server, ["-m", args.peer_model, "-t", str(args.threads), "-np", "1",
                                             "-c", str(args.prompt + args.generate + 64)])

    def ask(self, prompt, n):
        c = self.connect()
        body = {"prompt": prompt, "n_predict": n, "temperature": 0, "cache_prompt": False, "ignore_eos": True}
        c.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(c.getresponse().read())["timings"]

    def run(self, args, round_):
        timings = self.ask(words(args.words, round_ + 1), args.generate)
        return {"prefill": timings["prompt_per_second"], "decode": timings["predicted_per_second"]}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--peer-model", help="the file as the peers see it")
    p.add_argument("--wattlmd", default=ROOT / "target/release/wattlmd")
    p.add_argument("--llama-bench")
    p.add_argument("--llama-server")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--prompt", type=int, default=512)
    p.add_argument("--generate", type=int, default=128)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--json", action="store_true")
    args = p.parse_args()
    args.peer_model = args.peer_model or args.model

    programs, rounds = {}, []
    try:
        programs["wattlm"] = Wattlm(args)
        args.words = programs["wattlm"].words
        if args.llama_bench:
            programs["llama-bench"] = LlamaBench(args)
        if args.llama_server:
            programs["llama-server"] = LlamaServer(args)
        for i in range(args.rounds):
            rounds.append({name: program.run(args, i) for name, program in programs.items()})
            print(f"round {i + 1} of {args.rounds}", file=sys.stderr)
    finally:
        for program in programs.values():
            program.close()

    median = {name: {k: statistics.median(r[name][k] for r in rounds) for k in rounds[0][name]} for name in programs}
    kernels = programs["wattlm"].status["lanes"][0]["kernels"]
    if args.json:
        print(json.dumps({"model": Path(args.model).name, "threads": args.threads, "kernels": kernels,
                          "load": os.getloadavg(), "median": median, "rounds": rounds}))
        return
    print(f"{Path(args.model).name}, {args.threads} threads, wattlm's kernels: {kernels}; "
          f"load average {os.getloadavg()[0]:.1f}; medians of {args.rounds} rounds, tokens/s")
    for what in ("prefill", "decode"):
        ours = median["wattlm"][what]
        peers = "  ".join(f"{n} {m[what]:.1f} (ratio {ours / m[what]:.3f})" for n, m in median.items() if n != "wattlm")
        print(f"{what:8} wattlm {ours:.1f}  {peers}")


if __name__ == "__main__":
    main()
