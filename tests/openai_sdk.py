#!/usr/bin/env python3
"""The official `openai` package against a real `wattlmd`, over its Unix socket.

Starts target/release/wattlmd with the demo model on a private socket, in a temporary folder, and stops it in the end.
`scripts/test` runs it in an environment with the package. The last line is "N passed, N failed".
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import openai

try:
    import httpx2 as httpx
except ImportError:  # openai before 3
    import httpx

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = "wattlm-demo"
# Longest wait for anything, in seconds. Generous: it bounds a failure, it times nothing.
PATIENCE = 60
SAY = [{"role": "user", "content": "turn off the lights in the kitchen"}]
# An answer that goes on for as long as the context lets it.
LONG = {"ignore_eos": True}


class Daemon:
    """A private daemon, ready when the constructor returns."""

    def __init__(self, folder):
        self.socket = str(folder / "s")
        self.log = folder / "log"
        config = folder / "wattlm.toml"
        config.write_text("")
        command = [ROOT / "target/release/wattlmd", "--config", config, "--socket", self.socket]
        command += ["--models", ROOT / "models/demo", "--state", folder / "state"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, self.log.open("w") as log:
            ready.bind(str(folder / "notify"))
            ready.settimeout(PATIENCE)
            env = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify")}
            self.process = subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stderr=log)
            threading.Thread(target=self._wake, args=(ready.getsockname(),), daemon=True).start()
            while b"READY=1" not in (message := ready.recv(4096)).split(b"\n"):
                if message == b"ENDED=1":
                    sys.exit(f"wattlmd ended while it started:\n{self.log.read_text()}")

    def _wake(self, address):
        """Who waits for the daemon to be ready hears of its end, too."""
        self.process.wait()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                s.sendto(b"ENDED=1", address)
        except OSError:
            pass

    def transport(self):
        return httpx.Client(transport=httpx.HTTPTransport(uds=self.socket), timeout=PATIENCE)

    def client(self):
        # Without retries of its own: an error is an error the first time.
        return openai.OpenAI(base_url="http://wattlm/v1", api_key="none", max_retries=0, http_client=self.transport())

    def status(self):
        with self.transport() as http:
            return http.get("http://wattlm/wattlm/v1/status").raise_for_status().json()

    def stop(self):
        self.process.terminate()
        return self.process.wait(PATIENCE)


def raises(kind, code, call, param=None):
    """The call must fail with this class of the package and our code, message and parameter."""
    try:
        call()
    except kind as e:
        assert type(e) is kind, f"{type(e)} for {kind}"
        assert e.code == code, f"code {e.code!r} for {code!r}: {e}"
        assert e.body["message"], e
        assert param is None or e.param == param, f"param {e.param!r} for {param!r}"
        return e
    raise AssertionError(f"no {kind.__name__}")


def chat(client, **options):
    return client.chat.completions.create(**{"model": MODEL, "messages": SAY, "temperature": 0, **options})


def complete(client, prompt="turn", **options):
    return client.completions.create(**{"model": MODEL, "prompt": prompt, "temperature": 0, **options})


def check_receipt(receipt):
    assert receipt["request"].startswith("req-"), receipt
    assert receipt["model"].startswith(MODEL + ":"), receipt
    assert receipt["device"] == "cpu" and receipt["kernels"] and receipt["reason"], receipt
    assert receipt["threads"] >= 1 and receipt["retries"] == 0, receipt
    assert receipt["prefill_s"] > 0 and receipt["decode_s"] > 0 and receipt["decode_tokens_per_s"] > 0, receipt


def test_chat(client, daemon):
    answer = chat(client)
    choice = answer.choices[0]
    assert json.loads(choice.message.content)["room"] == "kitchen", choice
    assert (answer.object, choice.message.role, choice.finish_reason) == ("chat.completion", "assistant", "stop")
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert abs(answer.created - time.time()) < PATIENCE


def test_chat_streamed_with_usage(client, daemon):
    whole = chat(client)
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    last = chunks[-1]
    assert last.choices == [] and all(c.usage is None for c in chunks[:-1])
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert len({c.id for c in chunks}) == 1 and last.id != whole.id
    check_receipt(last.model_extra["wattlm"])


def test_chat_with_the_stream_helper(client, daemon):
    with client.chat.completions.stream(model=MODEL, messages=SAY, temperature=0) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == chat(client).choices[0].message.content


def test_completions(client, daemon):
    answer = complete(client, max_tokens=8, extra_body=LONG)
    assert answer.object == "text_completion" and answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 8 and answer.choices[0].text
    chunks = list(complete(client, max_tokens=8, extra_body=LONG, stream=True))
    assert "".join(c.choices[0].text for c in chunks) == answer.choices[0].text
    check_receipt(chunks[-1].model_extra["wattlm"])


def test_models(client, daemon):
    models = {m.id: m for m in client.models.list()}
    assert MODEL in models, list(models)
    one = client.models.retrieve(MODEL)
    assert one.id == MODEL and one.owned_by == "wattlm" and one.object == "model"
    variants = [v["name"] for v in one.model_extra["wattlm"]["variants"]]
    assert variants and all(name.startswith(MODEL + ":") for name in variants)
    for name in variants:
        assert chat(client, model=name).model_extra["wattlm"]["model"] == name


def test_unknown_models(client, daemon):
    raises(openai.NotFoundError, "model_not_found", lambda: chat(client, model="nobody"))
    raises(openai.NotFoundError, "model_not_found", lambda: client.models.retrieve("nobody"))


def test_what_is_not_supported_is_refused(client, daemon):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
    for field, value in [("tools", [tool]), ("n", 2), ("response_format", schema), ("logprobs", True)]:
        call = lambda: chat(client, **{field: value})
        raises(openai.BadRequestError, "unsupported_field", call, field)
    raises(openai.BadRequestError, "unsupported_field", lambda: chat(client, stream=True, n=2), "n")
    raises(openai.BadRequestError, "unsupported_field", lambda: complete(client, echo=True), "echo")
    assert chat(client, n=1, tools=[], user="me", metadata={"a": "b"}).choices[0].finish_reason == "stop"


def test_what_is_wrong_is_refused(client, daemon):
    raises(openai.BadRequestError, "invalid_request", lambda: chat(client, temperature=3), "temperature")
    raises(openai.BadRequestError, "invalid_request", lambda: chat(client, messages=[]), "messages")
    typo = {"wattlm": {"clas": "background"}}
    e = raises(openai.BadRequestError, "invalid_request", lambda: chat(client, extra_body=typo))
    assert "class" in str(e), e


def test_a_prompt_over_the_context_is_refused(client, daemon):
    long = [{"role": "user", "content": "turn off the light " * 2000}]
    for stream in (False, True):
        call = lambda: chat(client, messages=long, stream=stream)
        raises(openai.BadRequestError, "context_length_exceeded", call)


def test_a_body_over_the_limit_is_refused(client, daemon):
    # The server answers and closes while the client still writes: it may see either.
    try:
        chat(client, messages=[{"role": "user", "content": "x" * (2 << 20)}])
    except openai.APIStatusError as e:
        assert (e.status_code, e.code) == (413, "payload_too_large"), e
    except openai.APIConnectionError:
        pass
    else:
        raise AssertionError("it was taken")
    assert chat(client).choices


def test_classes_and_receipts(client, daemon):
    for name in ("interactive", "standard", "background"):
        answer = chat(client, extra_body={"wattlm": {"class": name, "deadline_ms": PATIENCE * 1000}})
        check_receipt(answer.model_extra["wattlm"])
        assert answer.id.endswith(answer.model_extra["wattlm"]["request"])
    raises(openai.BadRequestError, "invalid_request", lambda: chat(client, extra_body={"wattlm": {"class": "urgent"}}))


def test_stop_strings(client, daemon):
    whole = chat(client).choices[0].message.content
    # Crosses the border of two tokens, most likely, and in any case lies within the answer.
    stop = whole[len(whole) // 3 : len(whole) // 3 + 5]
    cut = chat(client, stop=[stop, "\x00never"]).choices[0]
    assert cut.message.content == whole[: whole.index(stop)] and cut.finish_reason == "stop"
    streamed = "".join(c.choices[0].delta.content or "" for c in chat(client, stop=stop, stream=True))
    assert streamed == cut.message.content


def test_the_same_seed_gives_the_same_text(client, daemon):
    draw = lambda seed: complete(client, temperature=2, seed=seed, max_tokens=32, extra_body=LONG).choices[0].text
    first = draw(7)
    assert draw(7) == first
    assert len({draw(seed) for seed in range(4)}) > 1


def test_closing_a_stream_cancels(client, daemon):
    before = daemon.status()["totals"]
    stream = complete(client, max_tokens=480, extra_body=LONG, stream=True)
    next(iter(stream))
    stream.close()
    end = time.monotonic() + PATIENCE
    while (status := daemon.status())["totals"]["cancelled"] != before["cancelled"] + 1:
        assert time.monotonic() < end and status["totals"]["completed"] == before["completed"], status
        time.sleep(0.01)
    assert status["running"] == 0 and status["totals"]["failed"] == before["failed"], status


def test_many_at_once(client, daemon):
    rooms = ["kitchen", "bedroom", "bathroom", "office"] * 4
    ask = lambda room: [{"role": "user", "content": f"turn off the lights in the {room}"}]
    alone = {room: chat(client, messages=ask(room)).choices[0].message.content for room in set(rooms)}
    assert all(json.loads(alone[room])["room"] == room for room in alone), alone
    with ThreadPoolExecutor(len(rooms)) as pool:
        answers = list(pool.map(lambda room: chat(client, messages=ask(room)), rooms))
    # Sums are added in another order in a larger batch; the command must be the same all the same.
    for room, answer in zip(rooms, answers):
        assert json.loads(answer.choices[0].message.content) == json.loads(alone[room]), (room, answer)
    assert len({a.id for a in answers}) == len(rooms)


async def ask_async(daemon):
    http = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=daemon.socket), timeout=PATIENCE)
    async with openai.AsyncOpenAI(base_url="http://wattlm/v1", api_key="none", http_client=http) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=SAY, temperature=0, stream=True)
        return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])


def test_the_asynchronous_client(client, daemon):
    import asyncio

    assert asyncio.run(ask_async(daemon)) == chat(client).choices[0].message.content


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="wattlm-sdk.") as folder:
        daemon = Daemon(pathlib.Path(folder))
        try:
            for name, test in tests:
                try:
                    with daemon.client() as client:
                        test(client, daemon)
                    print(f"ok      {name}", flush=True)
                except Exception:
                    failed += 1
                    print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
        finally:
            status = daemon.stop()
        if status == 0:
            print("ok      wattlmd ends cleanly")
        else:
            failed += 1
            print(f"FAILED  wattlmd ended with status {status}")
        if failed:
            print("--- the daemon's log ends with:\n" + "\n".join(daemon.log.read_text().splitlines()[-40:]))
    print(f"{len(tests) + 1 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
