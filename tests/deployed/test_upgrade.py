"""A stack with little time for each call of the transfer, night after night, and deployed again."""

import json
import time

from states import IN_ORDER


def test_a_transfer_of_four_times_its_timeout_is_called_again_until_it_is_done(short, say):
    # Fifteen files of a second each, one after the other.
    sandbox = short.start("--patients", "2", "--resources-per-file", "1", "--fault", "delay=file:1000")
    execution = short.run()
    assert execution.status == "SUCCEEDED", execution
    errors = execution.errors["Transfer to S3"]
    assert errors.count("JobInProgressError") >= 4, errors
    # On a slow machine a call may end before anything was staged.
    assert set(errors) <= {"JobInProgressError", "TransferError"}, errors
    # Each wait between two calls is a millisecond here.
    assert execution.seconds["Transfer to S3"] >= 4 * short.timeout, execution
    say(f"{len(errors) + 1} calls of {short.timeout} s moved what takes {execution.seconds['Transfer to S3']:.0f} s")
    source, target = sandbox.counts()
    assert source == target


def test_a_night_after_the_first_brings_what_changed_and_another_instant_is_a_deployment_away(short):
    sandbox = short.start()
    first = short.run()
    assert first.status == "SUCCEEDED", first
    manifest = json.loads(first.inputs["Transfer to S3"])["result"]
    # An instant is told to the millisecond.
    time.sleep(0.01)
    nothing = short.run()
    assert nothing.status == "SUCCEEDED", nothing
    assert nothing.states == [*IN_ORDER[:-1], "Import not necessary"]
    before = set(short.stack.keys())
    changed = {"resourceType": "Patient", "id": "changed-since", "active": True}
    sandbox.put(changed)
    second = short.run()
    assert second.status == "SUCCEEDED", second
    (key,) = {key for key in set(short.stack.keys()) - before if key.endswith(".ndjson") and "/_" not in key}
    (line,) = short.stack.read(key).splitlines()
    assert changed.items() <= json.loads(line).items()
    source, target = sandbox.counts()
    assert source == target
    # The same by a parameter, for whoever wants to go back.
    before = set(short.stack.keys())
    short.deploy(Since=manifest["transactionTime"])
    again = short.run()
    assert again.status == "SUCCEEDED", again
    (key,) = {key for key in set(short.stack.keys()) - before if key.endswith(".ndjson") and "/_" not in key}
    (line,) = short.stack.read(key).splitlines()
    assert changed.items() <= json.loads(line).items()
