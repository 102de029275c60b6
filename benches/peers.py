"""What the benchmarks here share: connections, made-up prompts, a daemon of our own, and llama-server beside it.

Not a benchmark itself. Only the standard library is used.
"""

import http.client
import json
import os
import random
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=600)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def words(n, seed):
    """A prompt of n random words; with a byte-level vocabulary each is a few tokens."""
    rng = random.Random(seed)
    return " ".join("".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(4)) for _ in range(n))


class Daemon:
    """wattlmd with this configuration and one model, on a private socket."""

    def __init__(self, wattlmd, model, config):
        self.dir = tempfile.TemporaryDirectory()
        base = Path(self.dir.name)
        self.socket = str(base / "s")
        models = base / "models"
        models.mkdir()
        (models / Path(model).name).symlink_to(Path(model).resolve())
        (base / "wattlm.toml").write_text(config)
        self.process = subprocess.Popen(
            [wattlmd, "--config", base / "wattlm.toml", "--socket", self.socket, "--models", models,
             "--state", base / "state"],
            stderr=open(base / "log", "w"),
        )
        while not os.path.exists(self.socket):
            if self.process.poll() is not None:
                sys.exit((base / "log").read_text())
            time.sleep(0.01)

    def connect(self):
        return UnixConnection(self.socket)

    def close(self):
        self.process.terminate()
        self.process.wait()


class Server:
    """llama-server with these options, on a loopback port the kernel chose. `command` may be of several words."""

    def __init__(self, command, options):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        command = [*shlex.split(command), *options, "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                c = self.connect()
                c.request("GET", "/health")
                if json.loads(c.getresponse().read()).get("status") == "ok":
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                sys.exit("llama-server ended")
            time.sleep(0.1)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)

    def close(self):
        self.process.terminate()
        self.process.wait()
