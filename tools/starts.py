"""How long a function's binary takes from its start to its first question at Lambda, and what memory it then has.

Standard library only. Of the binaries that are shipped, `make sizes` prints it.
"""

import os
import subprocess
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

# How long a start may take before something is wrong.
PATIENCE = 60


class Lambda(HTTPServer):
    """Lambda's side, as far as a function's first question: it is answered when the function is gone."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Asked)
        self.timeout = PATIENCE
        self.asked = None


class Asked(BaseHTTPRequestHandler):
    def do_GET(self):
        at = time.perf_counter()
        # Before an answer: a function without one ends.
        lines = Path(f"/proc/{self.server.process.pid}/status").read_text().splitlines()
        (kibibytes,) = [line.split()[1] for line in lines if line.startswith("VmRSS")]
        self.server.asked = (self.path, at, int(kibibytes) * 1024)

    def log_message(self, *_):
        pass


def start(program, variables):
    """How many seconds a function takes to its first poll, and how many bytes it then has resident."""
    with Lambda() as server:
        given = {"PATH": os.defpath, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}", "AWS_REGION": "us-east-1"}
        for name, value in [("NAME", "f"), ("MEMORY_SIZE", "256"), ("VERSION", "1")]:
            given[f"AWS_LAMBDA_FUNCTION_{name}"] = value
        began = time.perf_counter()
        process = server.process = subprocess.Popen([program], env=variables | given, stderr=subprocess.DEVNULL)
        try:
            server.handle_request()
            if not server.asked:
                raise SystemExit(f"{program} did not ask for an event within {PATIENCE} s")
            path, at, resident = server.asked
            assert path.endswith("/runtime/invocation/next")
            return at - began, resident
        finally:
            process.kill()
            process.wait(timeout=PATIENCE)
