"""What the functions cost, for whoever reads the log; held to here is only what no debug build should miss."""

import os
import subprocess
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import workflow
from checks import check_the_target
from stack import PROFILE

from local_aws import PATIENCE


@pytest.mark.parametrize("step", workflow.STEPS)
def test_a_function_is_small_starts_at_once_and_rests_in_little_memory(standard_site, say, step):
    stack = standard_site.stack
    described = stack.aws.lambdas.get_function_configuration(FunctionName=stack.functions[step])
    size, variables = described["CodeSize"], described["Environment"]["Variables"]
    program = standard_site.cloud.built / workflow.STEPS[step] / "bootstrap"
    starts = [start(program, variables) for _ in range(5)]
    seconds, memory = min(seconds for seconds, _ in starts), max(memory for _, memory in starts)
    profile = PROFILE or "debug"
    figures = f"zip {size / 2**20:.1f} MiB, {seconds * 1000:.0f} ms to the first poll, {memory / 2**20:.0f} MiB at rest"
    say(f"{step} ({profile}): {figures}")
    assert seconds < 1
    assert memory < 64 * 2**20


def test_how_long_each_step_takes(standard, say):
    sandbox = standard.start()
    execution = standard.run()
    assert execution.status == "SUCCEEDED", execution
    steps = [f"{state} {seconds * 1000:.0f}" for state, seconds in execution.seconds.items()]
    say(f"milliseconds from cold functions: {', '.join(steps)}")
    check_the_target(sandbox)


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
            path, at, resident = server.asked
            assert path.endswith("/runtime/invocation/next")
            return at - began, resident
        finally:
            process.kill()
            process.wait(timeout=PATIENCE)
