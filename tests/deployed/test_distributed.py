"""The stack with Workflow=distributed: eight workers, and each way in which they may end."""

import os
import signal
import threading
import time
from collections import Counter

from checks import check_the_target

BEFORE = ["FHIR export", "Check export status", "Check batches", "Transfer batches"]
AFTER = ["Transfer to S3", "Pathling import", "Check import result", "Check import status"]


def test_of_2000_files_and_eight_workers_one_is_killed_and_one_runs_out_of_time(distributed, say):
    sandbox = distributed.start("--patients", "282", "--resources-per-file", "1")
    struck = Striking(distributed.stack, [signal.SIGKILL, signal.SIGSTOP])
    execution = distributed.run()
    struck.join()
    assert execution.status == "SUCCEEDED", execution
    assert execution.states == [*BEFORE, *AFTER]
    assert {worker.status for worker in execution.workers} == {"SUCCEEDED"}
    failures = Counter(failure for worker in execution.workers for failure in worker.failures)
    assert failures["Runtime.ExitError"] == 1, failures
    assert failures["Sandbox.Timedout"] == 1, failures
    # On a slow machine more of them run out of time, some before anything was staged.
    expected = {"Runtime.ExitError", "Sandbox.Timedout", "JobInProgressError", "TransferError"}
    assert set(failures) <= expected, failures
    files = sum(sandbox.counts()[0].values())
    assert sum(worker.output["files"] for worker in execution.workers) == files >= 2000
    assert struck.most_at_once == 8
    check_the_target(sandbox)
    say(f"{files} files in {len(execution.workers)} batches: {execution.seconds['Transfer batches']:.0f} s, {dict(failures)}")


def test_one_worker_that_fails_for_ever_fails_the_execution(distributed):
    sandbox = distributed.start("--resources-per-file", "1", "--fault", "file-bad-json")
    execution = distributed.run()
    assert (execution.status, execution.error) == ("FAILED", "States.ExceedToleratedFailureThreshold"), execution
    assert execution.states == BEFORE
    failed = [worker for worker in execution.workers if worker.status == "FAILED"]
    assert {worker.error for worker in failed} == {"IntegrityError"}
    # It is not tried again.
    assert all(worker.failures == ["IntegrityError"] for worker in failed), execution
    assert sandbox.counts()[1] == {}


class Striking(threading.Thread):
    """Sends one signal each to as many workers, once all are at work."""

    def __init__(self, stack, signals):
        super().__init__()
        self.stack, self.signals, self.most_at_once = stack, signals, 0
        self.start()

    def run(self):
        deadline = time.monotonic() + 60
        while self.signals and time.monotonic() < deadline:
            workers = self.stack.processes("transfer-to-s3")
            self.most_at_once = max(self.most_at_once, len(workers))
            if len(workers) == 8:
                for process, sent in zip(workers, self.signals):
                    os.kill(process, sent)
                self.signals = []
            time.sleep(0.05)
