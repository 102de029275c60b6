"""Exact-match accuracy of a served model on the held-out files, greedy, over any OpenAI-compatible endpoint.

    python eval.py --socket /run/wattlm/wattlm.sock --model wattlm-demo heldout.jsonl heldout-free.jsonl
    python eval.py --url http://127.0.0.1:8080 heldout.jsonl
"""

import argparse
import collections
import concurrent.futures
import http.client
import json
import socket
import threading
import urllib.parse


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Client(threading.local):
    """One kept connection for each thread."""

    def __init__(self, options):
        self.options, self.connection = options, None

    def connect(self):
        if self.options.socket:
            return UnixConnection(self.options.socket)
        url = urllib.parse.urlsplit(self.options.url)
        return http.client.HTTPConnection(url.hostname, url.port or 80, timeout=120)

    def ask(self, say):
        body = {
            "model": self.options.model,
            "messages": [{"role": "user", "content": say}],
            "temperature": 0,
            "max_tokens": 96,
        }
        self.connection = self.connection or self.connect()
        headers = {"Content-Type": "application/json"}
        self.connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = self.connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise SystemExit(f"HTTP {response.status}: {text.decode(errors='replace')}")
        choice = json.loads(text)["choices"][0]
        return choice["message"]["content"], choice["finish_reason"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--socket", help="path of a Unix socket")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--model", default="wattlm-demo")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--limit", type=int, default=0, help="only the first so many items")
    parser.add_argument("--kinds", action="store_true", help="print each kind's figure")
    parser.add_argument("--wrong", action="store_true", help="print what is wrong")
    parser.add_argument("--min", type=float, default=0, help="fail where a file's figure is below this percentage")
    options = parser.parse_args()
    client, failed = Client(options), False
    for path in options.files:
        with open(path, encoding="utf-8") as f:
            items = [json.loads(line) for line in f if line.strip()]
        items = items[: options.limit or None]
        with concurrent.futures.ThreadPoolExecutor(options.threads) as pool:
            got = list(pool.map(lambda item: client.ask(item["say"]), items))
        right, total, unstopped = collections.Counter(), collections.Counter(), 0
        for item, (text, reason) in zip(items, got):
            kind = item.get("kind", "free")
            for name in (kind, "new " + item["new"]) if "new" in item else (kind,):
                total[name] += 1
                right[name] += text == item["answer"]
            unstopped += reason != "stop"
            if options.wrong and text != item["answer"]:
                print(f"{kind:18} {item['say']}\n    wanted {item['answer']}\n    got    {text}")
        if options.kinds:
            for kind in sorted(total, key=lambda k: right[k] / total[k]):
                print(f"  {kind:20} {right[kind]:4} of {total[kind]:4}  {100 * right[kind] / total[kind]:6.1f} %")
        all_right = sum(text == item["answer"] for item, (text, _) in zip(items, got))
        all_total = len(items)
        figure = 100 * all_right / all_total
        for name in ("new template", "new wording"):
            if name in total and not options.kinds:
                print(f"  {name}: {100 * right[name] / total[name]:.2f} % of {total[name]}")
        print(f"{path}: {all_right} of {all_total} exact, {figure:.2f} %, {unstopped} did not stop by themselves")
        failed |= figure < options.min
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
