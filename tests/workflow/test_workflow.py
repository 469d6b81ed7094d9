"""The bundled workflow, from an export to rows in the target, and each way in which it may end."""

import pytest
from states import IN_ORDER, UNMENDABLE


@pytest.mark.parametrize("pathling", ["7", "2"])
def test_everything_arrives_and_each_poll_of_a_running_job_is_repeated(run, pathling):
    # Oftener than the retrier of all errors would.
    execution, sandbox = run("--pathling", pathling, "--polls", "6")
    assert execution.status == "SUCCEEDED", execution
    assert execution.states == IN_ORDER
    assert execution.errors["Check export status"] == ["JobInProgressError"] * 6
    assert execution.errors["Check import status"] == ["JobInProgressError"] * 6
    assert execution.errors["FHIR export"] == execution.errors["Pathling import"] == []
    assert execution.output["result"]["resourceType"]
    assert execution.output["execution"] == execution.name
    source, target = sandbox.counts()
    assert source == target
    for kind in source:
        assert sorted(sandbox.source(kind)) == sorted(sandbox.target(kind))
    assert sandbox.token_leaks() == []


def test_a_transfer_whose_time_runs_out_is_called_again_and_goes_on(run):
    files = ("--resources-per-file", "10", "--fault", "delay=file:1000")
    execution, sandbox = run(*files, timeouts={"transfer-to-s3": 3}, TransferConcurrency="8")
    assert execution.status == "SUCCEEDED", execution
    assert set(execution.errors["Transfer to S3"]) == {"JobInProgressError"}
    source, target = sandbox.counts()
    assert source == target


def test_an_export_without_resources_needs_no_import(run):
    execution, sandbox = run(Since="2099-01-01T00:00:00Z")
    assert execution.status == "SUCCEEDED", execution
    assert execution.states == IN_ORDER[:-1] + ["Import not necessary"]
    assert "statusUrl" in execution.output and execution.output["statusUrl"] is None
    assert sandbox.counts()[1] == {}


def test_a_change_at_the_source_arrives_by_the_next_execution(run):
    first, sandbox = run()
    assert first.status == "SUCCEEDED", first
    changed = {"resourceType": "Patient", "id": "changed-since", "active": True}
    sandbox.put(changed)
    second, _ = run()
    assert second.status == "SUCCEEDED", second
    assert sorted(sandbox.source("Patient")) == sorted(sandbox.target("Patient"))


@pytest.mark.parametrize(("fault", "state", "error"), UNMENDABLE)
def test_what_no_retry_can_mend_is_not_retried(run, fault, state, error):
    execution, sandbox = run("--fault", fault)
    assert (execution.status, execution.error) == ("FAILED", error), execution
    assert execution.states[-1] == state
    assert execution.errors[state] == [error]
    assert sandbox.counts()[1] == {}


def test_what_a_retry_may_mend_is_retried_five_times(run):
    execution, sandbox = run("--fault", "answers=target-metadata:502", "--fault", "answers=import-kick-off:502")
    assert (execution.status, execution.error) == ("FAILED", "TargetUnavailableError"), execution
    assert execution.errors["Pathling import"] == ["TargetUnavailableError"] * 6
    assert sandbox.counts()[1] == {}


def test_an_export_that_never_ends_fails_when_the_polls_run_out(run):
    execution, _ = run("--polls", "1000", ExportPollTimes="3")
    assert (execution.status, execution.error) == ("FAILED", "JobInProgressError"), execution
    assert execution.errors["Check export status"] == ["JobInProgressError"] * 4
