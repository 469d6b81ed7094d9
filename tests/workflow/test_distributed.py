"""The workflow of many machines: batches, their workers, and each way in which those may end."""

import os
import signal
import threading
import time

import pytest

BEFORE = ["FHIR export", "Check export status", "Check batches"]
AFTER = ["Transfer to S3", "Pathling import", "Check import result", "Check import status"]
# So many files are more than one batch.
SEVERAL = ("--resources-per-file", "1", "--patients", "40")


def test_workers_bring_every_batch_and_the_last_call_fetches_nothing(run_distributed):
    execution, sandbox = run_distributed(*SEVERAL)
    assert execution.status == "SUCCEEDED", execution
    assert execution.states == [*BEFORE, "Transfer batches", *AFTER]
    assert len(execution.workers) > 1, execution.workers
    assert {worker.status for worker in execution.workers} == {"SUCCEEDED"}
    for worker in execution.workers:
        assert sorted(worker.output) == ["bytes", "files", "run"]
        assert worker.input["execution"] == execution.name
    assert sum(worker.output["files"] for worker in execution.workers) == files(sandbox)
    source, target = sandbox.counts()
    assert source == target
    assert sandbox.token_leaks() == []


def test_an_export_without_files_has_no_workers(run_distributed):
    execution, sandbox = run_distributed(Since="2099-01-01T00:00:00Z")
    assert execution.status == "SUCCEEDED", execution
    assert execution.states == [*BEFORE, *AFTER[:-1], "Import not necessary"]
    assert execution.workers == []
    assert sandbox.counts()[1] == {}


def test_a_worker_whose_time_runs_out_is_called_again_and_goes_on(run_distributed):
    options = ("--resources-per-file", "10", "--fault", "delay=file:1000")
    execution, sandbox = run_distributed(*options, timeouts={"transfer-to-s3": 3}, TransferConcurrency="8")
    assert execution.status == "SUCCEEDED", execution
    errors = [error for worker in execution.workers for error in worker.failures]
    assert set(errors) == {"JobInProgressError"}
    source, target = sandbox.counts()
    assert source == target


def test_one_worker_that_fails_for_ever_fails_the_execution(run_distributed):
    execution, sandbox = run_distributed("--fault", "file-bad-json")
    assert execution.status == "FAILED", execution
    assert execution.error == "States.ExceedToleratedFailureThreshold"
    assert execution.states == [*BEFORE, "Transfer batches"]
    (worker,) = execution.workers
    assert (worker.status, worker.error) == ("FAILED", "IntegrityError"), worker
    assert worker.failures == ["IntegrityError"], "it is not tried again"
    assert sandbox.counts()[1] == {}


@pytest.mark.parametrize(
    ("sent", "error"), [(signal.SIGKILL, "Runtime.ExitError"), (signal.SIGSTOP, "Sandbox.Timedout")]
)
def test_a_worker_that_is_killed_or_hangs_is_tried_again(aws, run_distributed, sent, error):
    hit = []
    # Processes of other tests' functions are no target, and one that was killed may be seen a moment longer.
    before = set(aws.processes("transfer-to-s3-lambda"))
    for process in before:
        os.kill(process, signal.SIGKILL)

    def strike():
        deadline = time.monotonic() + 60
        while not hit and time.monotonic() < deadline:
            for process in set(aws.processes("transfer-to-s3-lambda")) - before:
                # In the middle of its work, of which each file takes a second.
                time.sleep(0.5)
                os.kill(process, sent)
                hit.append(process)
                break
            time.sleep(0.02)

    striking = threading.Thread(target=strike)
    striking.start()
    options = ("--resources-per-file", "10", "--fault", "delay=file:1000")
    execution, sandbox = run_distributed(*options, timeouts={"transfer-to-s3": 8})
    striking.join()
    assert hit
    assert execution.status == "SUCCEEDED", execution
    failures = [failure for worker in execution.workers for failure in worker.failures]
    assert failures.count(error) == 1, failures
    source, target = sandbox.counts()
    assert source == target


def files(sandbox):
    """How many files the export has: one for each resource."""
    return sum(sandbox.counts()[0].values())
