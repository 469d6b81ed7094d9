"""The stack on a local AWS: built by `sam build` and deployed by `sam deploy` from template.yaml as it is.

What ministack does not show is not tested here: redrive itself, an execution's time limit, MaxDelaySeconds and jitter,
limits of size and memory, logs and metrics of the state machine, alarms on them, KMS, the functions' network and lifecycle,
and whether a state machine's own role suffices. `make check-template` looks at those of them that can be read.
"""

import json
import os
import platform
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import workflow
from local_aws import ACCOUNT, BINARIES, PATIENCE, REGION, LocalAws

HERE = Path(__file__).resolve().parent
SAM = workflow.ROOT / ".venv/sam/bin"
ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
# Without it, the functions are those of `make programs`; see bin/cargo-lambda. `lambda` is the profile that is shipped.
PROFILE = os.environ.get("PROFILE")


class Cloud:
    """A local AWS in which each function runs under just its own role, with the functions' code in a bucket."""

    def __init__(self, folder):
        self.folder = folder
        objects = folder / "objects"
        self.aws = LocalAws(folder, AUTH="true", S3_PERSIST="1", S3_DATA_DIR=str(objects))
        # Where the sandbox's target reads what is staged: objects lie there as files.
        self.objects = objects / ACCOUNT
        self.iam = self.aws.client("iam")
        self.stacks = self.aws.client("cloudformation")
        self.secrets = self.aws.client("secretsmanager")
        self.built = folder / "built"
        self.packaged = folder / "packaged.yaml"

    def build(self):
        """Builds the functions, and puts them into a bucket that stacks are deployed from."""
        self._build()
        self.aws.buckets.create_bucket(Bucket="code")
        self._sam("package", "--template-file", self.built / "template.yaml", "--s3-bucket", "code",
                  "--output-template-file", self.packaged)  # fmt: skip

    def _build(self):
        further = {"SAM_BUILD_MODE": "debug"}
        path = [SAM]
        if PROFILE:
            further |= {"CARGO_LAMBDA_BUILD.PROFILE": PROFILE, "AWS_LC_SYS_NO_JITTER_ENTROPY": "1"}
        else:
            path.insert(0, HERE / "bin")
            further |= {"CARGO_TARGET_DIR": str(self.folder / "handed-over"), "BUILT": str(BINARIES)}
        further["PATH"] = os.pathsep.join([*map(str, path), os.environ["PATH"]])
        self._sam("build", "--beta-features", "--build-dir", self.built,
                  "--parameter-overrides", f"Architecture={ARCHITECTURE}", further=further)  # fmt: skip

    def _sam(self, *words, further=None):
        # Whoever runs this may have an AWS, or an S3, of their own.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
            "SAM_CLI_TELEMETRY": "0",
            "AWS_ENDPOINT_URL": self.aws.url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        done = subprocess.run(
            [str(word) for word in (SAM / "sam", *words)],
            cwd=workflow.ROOT,
            env=environment | (further or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60 * PATIENCE if PROFILE else PATIENCE,
        )
        assert done.returncode == 0, f"sam {words[0]}: {done.stdout}"

    def deploy(self, name, parameters):
        """Deploys the stack under this name and gives it. A second time it changes the stack."""
        given = {"Architecture": ARCHITECTURE, "AwsEndpointUrl": self.aws.url} | parameters
        overrides = [f'{key}="{value}"' for key, value in given.items()]
        # SAM looks for its defaults beside the template.
        self._sam("deploy", "--config-file", workflow.ROOT / "samconfig.toml", "--template-file", self.packaged,
                  "--stack-name", name, "--no-confirm-changeset", "--parameter-overrides", *overrides)  # fmt: skip
        return Stack(self, name)

    def secret(self, name, text):
        """Keeps a secret and gives its ARN."""
        return self.secrets.create_secret(Name=name, SecretString=text)["ARN"]


class Stack:
    """A deployed stack, by what it says of itself."""

    def __init__(self, cloud, name):
        self.cloud, self.aws, self.name = cloud, cloud.aws, name
        (described,) = cloud.stacks.describe_stacks(StackName=name)["Stacks"]
        assert described["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE"), described
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        self.machine, self.bucket = outputs["StateMachineArn"], outputs["StagingBucketName"]
        self.physical = {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in cloud.stacks.describe_stack_resources(StackName=name)["StackResources"]
        }
        self.functions = {step: self.physical[logical] for step, logical in workflow.STEPS.items()}
        self.roles = {step: self.physical[logical.replace("Function", "Role")] for step, logical in workflow.STEPS.items()}

    def definition(self):
        return json.loads(self.aws.workflows.describe_state_machine(stateMachineArn=self.machine)["definition"])

    def run_from(self, state, given):
        """Runs the same workflow from one of its states on, with this input."""
        described = self.aws.workflows.describe_state_machine(stateMachineArn=self.machine)
        # An equal one that is there already is given.
        created = self.aws.workflows.create_state_machine(
            name=f"{self.name}-from-{state.lower().replace(' ', '-')}",
            definition=json.dumps(json.loads(described["definition"]) | {"StartAt": state}),
            roleArn=described["roleArn"],
        )
        return self.aws.run(created["stateMachineArn"], given)

    def processes(self, step):
        """The processes of a step's function that run here now, by their ids."""
        name = f"AWS_LAMBDA_FUNCTION_NAME={self.functions[step]}".encode()
        found = []
        for process in self.aws.processes("bootstrap"):
            try:
                if name in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                    found.append(process)
            except OSError:
                # It has ended in the meantime.
                continue
        return found

    def start_afresh(self, step):
        """Lets the next call of a step's function be one of a new process."""
        for process in self.processes(step):
            os.kill(process, signal.SIGKILL)

    @contextmanager
    def variable(self, step, name, value):
        """Sets a variable of a step's function meanwhile."""
        function = self.functions[step]
        found = self.aws.lambdas.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        self._set(step, found | {name: value})
        try:
            yield
        finally:
            self._set(step, found)

    def _set(self, step, variables):
        self.aws.lambdas.update_function_configuration(
            FunctionName=self.functions[step], Environment={"Variables": variables}
        )
        self.start_afresh(step)

    def keys(self):
        """The names of all objects in the staging bucket."""
        pages = self.aws.buckets.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def read(self, key):
        return self.aws.buckets.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def empty(self):
        """As if nothing had ever been synchronised."""
        keys = self.keys()
        for first in range(0, len(keys), 1000):
            some = [{"Key": key} for key in keys[first : first + 1000]]
            self.aws.buckets.delete_objects(Bucket=self.bucket, Delete={"Objects": some})
