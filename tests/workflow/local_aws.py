"""The bundled workflow in a local AWS: its definition interpreted, its five functions the real binaries."""

import io
import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
import zipfile
from pathlib import Path

import boto3

import workflow

REGION = "us-east-1"
ACCOUNT = "000000000000"
BINARIES = workflow.ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug"
# All that a wait or a step may take here before a test gives up.
PATIENCE = 300


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LocalAws:
    """ministack on a port of its own. It hands its environment on to the functions, so it gets almost none."""

    def __init__(self, folder, **further):
        self.url = f"http://127.0.0.1:{free_port()}"
        environment = {
            "PATH": os.defpath,
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": self.url.rsplit(":", 1)[1],
            # 900 seconds between two polls become a moment.
            "SFN_WAIT_SCALE": "0.001",
        } | further
        self.log = folder / "ministack.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ministack"], env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT
            )
        self.lambdas = self.client("lambda")
        self.buckets = self.client("s3")
        self.secrets = self.client("secretsmanager")
        self.workflows = self.client("stepfunctions")
        self.deployed = 0
        self._wait_until_healthy()

    def client(self, service):
        return boto3.client(
            service, endpoint_url=self.url, region_name=REGION, aws_access_key_id=ACCOUNT, aws_secret_access_key="test"
        )

    def _wait_until_healthy(self):
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/_localstack/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"ministack did not start:\n{self.log.read_text()}")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)

    def keep(self, bucket, key, content):
        """Puts an object where Step Functions reads it."""
        self.buckets.create_bucket(Bucket=bucket)
        self.buckets.put_object(Bucket=bucket, Key=key, Body=content)

    def secret(self, text):
        """Keeps a secret, and gives its ARN."""
        return self.secrets.create_secret(Name=f"secret-{uuid.uuid4()}", SecretString=text)["ARN"]

    def deploy(self, parameters, extra, timeouts, own, asl):
        """Creates the five functions and the state machine as template.yaml describes them with these parameters, and
        gives the state machine's ARN. `extra` is environment that AWS itself would give, or need not be given there;
        `timeouts` replaces a step's own, and `own` adds to a step's environment. `asl` is the definition."""
        self.deployed += 1
        name, arns = f"stack-{self.deployed}", {}
        described = workflow.template()
        for step, logical in workflow.STEPS.items():
            properties = described["Globals"]["Function"] | described["Resources"][logical]["Properties"]
            timeout = properties["Timeout"]
            if isinstance(timeout, dict):
                timeout = parameters.get(timeout["Ref"], described["Parameters"][timeout["Ref"]]["Default"])
            variables = workflow.environment(step, parameters) | extra | own.get(step, {})
            variables["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = self.url
            answer = self.lambdas.create_function(
                FunctionName=f"{name}-{step}",
                Runtime=properties["Runtime"],
                Handler=properties["Handler"],
                Role=f"arn:aws:iam::{ACCOUNT}:role/{step}",
                Timeout=timeouts.get(step, int(timeout)),
                Environment={"Variables": variables},
                Code={"ZipFile": bootstrap(step, extra)},
            )
            arns[f"{logical}Arn"] = answer["FunctionArn"]
        machine = self.workflows.create_state_machine(
            name=name,
            definition=workflow.definition(parameters, arns, asl),
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/workflow",
        )
        return machine["stateMachineArn"]

    def run(self, machine, given="{}"):
        """Runs the state machine with this input to its end."""
        return self.follow(self.workflows.start_execution(stateMachineArn=machine, input=given)["executionArn"])

    def follow(self, arn):
        """Waits for an execution's end."""
        deadline = time.monotonic() + PATIENCE
        while (end := self.workflows.describe_execution(executionArn=arn))["status"] == "RUNNING":
            assert time.monotonic() < deadline, f"the execution does not end; see {self.log}"
            time.sleep(0.1)
        return Execution(end, self._history(arn), self._workers(arn))

    def _history(self, arn):
        pages = self.workflows.get_paginator("get_execution_history").paginate(executionArn=arn)
        return [event for page in pages for event in page["events"]]

    def _workers(self, arn):
        """What each worker of the execution's Maps came to."""
        workers = []
        for run in self.workflows.list_map_runs(executionArn=arn)["mapRuns"]:
            for child in self.workflows.list_executions(mapRunArn=run["mapRunArn"])["executions"]:
                end = self.workflows.describe_execution(executionArn=child["executionArn"])
                workers.append(Execution(end, self._history(child["executionArn"])))
        return workers

    def processes(self, program):
        """The processes of a function's binary that run here now, by their ids."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if (folder / "exe").resolve().name == program and self._is_ours(folder.name):
                    found.append(int(folder.name))
            except (OSError, ValueError):
                # It has ended in the meantime, or is no process.
                continue
        return found

    def _is_ours(self, process):
        while process not in ("0", "1"):
            if int(process) == self.process.pid:
                return True
            # After the name, which may hold anything, come the state and the parent.
            process = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
        return False


class Execution:
    """How an execution ended, and what happened on the way."""

    def __init__(self, end, history, workers=()):
        self.name = end["name"]
        self.status = end["status"]
        self.error = end.get("error")
        self.cause = end.get("cause")
        self.input = json.loads(end["input"]) if end.get("input") else None
        self.output = json.loads(end["output"]) if end.get("output") else None
        self.workers = list(workers)
        # The states in their order, and for each the errors that its task gave, in theirs.
        self.states = []
        self.errors = {}
        # Those of a worker, whose one state is not told of.
        self.failures = []
        # What each state was given, as text, and for how many seconds it went on.
        self.inputs = {}
        self.seconds = {}
        for event in history:
            if event["type"].endswith("StateEntered"):
                entered = event["stateEnteredEventDetails"]
                self.states.append(entered["name"])
                self.errors[self.states[-1]] = []
                self.inputs[self.states[-1]] = entered["input"]
                began = event["timestamp"]
            elif event["type"].endswith("StateExited"):
                self.seconds[self.states[-1]] = (event["timestamp"] - began).total_seconds()
            elif event["type"] == "TaskFailed":
                error = event["taskFailedEventDetails"]["error"]
                self.failures.append(error)
                if self.states:
                    self.errors[self.states[-1]].append(error)

    def __repr__(self):
        return f"{self.status} {self.error}: {self.cause} {self.states} {self.errors} {self.failures} {self.workers}"


def bootstrap(step, extra):
    """A function's zip. The binary itself stays where cargo built it, since a debug build is large; and the
    credentials of the sandbox's S3 are set here, where AWS and ministack would give those of the function's role."""
    program = Path(BINARIES, f"{step}-lambda")
    assert program.exists(), f"{program} is missing: cargo build --workspace --bins"
    lines = ["#!/bin/sh", "unset AWS_SESSION_TOKEN"]
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]:
        lines.append(f"export {name}={shlex.quote(extra[name])}")
    lines += [f"exec {shlex.quote(str(program))}", ""]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, "\n".join(lines))
    return packed.getvalue()

