"""What the tests share: one local AWS for all of them, and a way to run a workflow in it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import workflow  # noqa: E402
from local_aws import BINARIES, LocalAws  # noqa: E402
from s3_bridge import Bridge  # noqa: E402
from sandbox import Sandbox  # noqa: E402


@pytest.fixture(scope="session")
def aws(tmp_path_factory):
    local = LocalAws(tmp_path_factory.mktemp("aws"))
    yield local
    local.stop()


@pytest.fixture
def run(aws, tmp_path):
    """Runs the workflow against a sandbox with these options, under a template with these parameters; gives both."""
    started = []

    def run_it(*options, timeouts=None, own=None, asl=workflow.ASL, **parameters):
        if not started:
            started.append(Sandbox(BINARIES / "sandbox", tmp_path, *options))
        settings = started[0].settings
        machine = aws.deploy(
            {
                "StagingBucket": settings["STAGING_URL"].removeprefix("s3://"),
                "SourceEndpoint": settings["SOURCE_ENDPOINT"],
                "SourceClientId": settings["SOURCE_CLIENT_ID"],
                "SourceClientSecret": aws.secret(settings["SOURCE_CLIENT_SECRET"]),
                "SourceScopes": settings["SOURCE_SCOPES"],
                "TargetEndpoint": settings["TARGET_ENDPOINT"],
                "TargetClientId": settings["TARGET_CLIENT_ID"],
                "TargetClientSecret": aws.secret(settings["TARGET_CLIENT_SECRET"]),
                "TargetScopes": settings["TARGET_SCOPES"],
                **parameters,
            },
            {name: value for name, value in settings.items() if name.startswith("AWS_")},
            timeouts or {},
            own(settings) if own else {},
            asl,
        )
        return aws.run(machine), started[0]

    yield run_it
    for sandbox in started:
        sandbox.stop()


@pytest.fixture
def run_distributed(aws, run):
    """As `run`, for the workflow of many machines."""
    bridges = []

    def own(settings):
        bridges.append(Bridge(settings["AWS_ENDPOINT_URL_S3"], aws.keep))
        # Its S3 is the sandbox's like that of the others, but for the batches, which are kept here too.
        return {"check-export-status": {"TRANSFER_BATCHES": "true", "AWS_ENDPOINT_URL_S3": bridges[-1].url}}

    yield lambda *options, **more: run(*options, own=own, asl=workflow.DISTRIBUTED, **more)
    for bridge in bridges:
        bridge.stop()
