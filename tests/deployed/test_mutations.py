"""The check of a whole run sees what it is for: broken on purpose, the deployed stack does not pass it."""

import json
import zipfile
from contextlib import contextmanager

import pytest
import workflow
import yaml
from checks import check_a_whole_run, check_nothing_to_import


def test_a_binary_that_calls_a_running_job_by_another_name_is_found(standard, tmp_path):
    standard.start("--polls", "6")
    with another_binary(standard, "check-export-status", tmp_path, b"JobInProgressError", b"JobInProgressErroR"):
        with pytest.raises(AssertionError, match="JobInProgressErroR"):
            check_a_whole_run(standard)


def without_the_retrier(states):
    del states["Check import status"]["Retry"][0]


def without_the_choice(states):
    states["Check import result"]["Choices"][0]["IsNull"] = False


def with_another_default(states):
    states["Check import result"]["Default"] = "Import not necessary"


def with_another_order(states):
    states["Check export status"]["Next"] = "Pathling import"


@pytest.mark.parametrize("breaking", [without_the_retrier, without_the_choice, with_another_default, with_another_order])
def test_a_broken_workflow_is_found(standard, breaking):
    standard.start("--polls", "6")
    with another_definition(standard.stack, breaking), pytest.raises(AssertionError):
        check_a_whole_run(standard)


def test_a_workflow_without_the_way_past_an_import_is_found(standard):
    def to_the_import(states):
        states["Check import result"]["Choices"][0]["Next"] = "Check import status"

    standard.start("--patients", "0")
    check_nothing_to_import(standard)
    with another_definition(standard.stack, to_the_import), pytest.raises(AssertionError):
        check_nothing_to_import(standard)


@contextmanager
def another_definition(stack, breaking):
    definition = stack.definition()
    broken = json.loads(json.dumps(definition))
    breaking(broken["States"])
    update = stack.aws.workflows.update_state_machine
    update(stateMachineArn=stack.machine, definition=json.dumps(broken))
    try:
        yield
    finally:
        update(stateMachineArn=stack.machine, definition=json.dumps(definition))


@contextmanager
def another_binary(site, step, folder, name, other):
    """Replaces a name in a function's binary meanwhile."""
    cloud, stack, logical = site.cloud, site.stack, workflow.STEPS[step]
    content = (cloud.built / logical / "bootstrap").read_bytes()
    assert name in content
    archive = folder / "broken.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        packed.writestr(entry, content.replace(name, other))
    stack.aws.buckets.upload_file(str(archive), "code", "broken")
    properties = yaml.load(cloud.packaged.read_text(), workflow.Loader)["Resources"][logical]["Properties"]
    proper = properties["CodeUri"].rsplit("/", 1)[1]

    def install(key):
        stack.aws.lambdas.update_function_code(FunctionName=stack.functions[step], S3Bucket="code", S3Key=key)
        stack.start_afresh(step)

    install("broken")
    try:
        yield
    finally:
        install(proper)
