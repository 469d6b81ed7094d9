"""An execution that failed is redriven: its failed state gets the same input again, and the rest follows.

ministack has no redrive; so an execution of a state machine that begins at that state gets that input.
"""

import pytest
from checks import check_the_target

from states import IN_ORDER

AUTHENTICATION = "AuthenticationError"
FAILING = [
    # What only a new export mends, such as a damaged file, no redrive does.
    ("answers=kick-off:401", "FHIR export", AUTHENTICATION),
    ("answers=status:401", "Check export status", AUTHENTICATION),
    ("answers=file:403", "Transfer to S3", AUTHENTICATION),
    ("answers=import-kick-off:403", "Pathling import", AUTHENTICATION),
    ("answers=import-status:401", "Check import status", AUTHENTICATION),
    ("import-fails=400", "Check import status", "ImportFailedError"),
]


@pytest.mark.parametrize(("fault", "state", "error"), FAILING)
def test_an_execution_that_failed_at_a_state_ends_well_from_there(standard, fault, state, error):
    sandbox = standard.start("--fault", fault)
    failed = standard.run()
    assert (failed.status, failed.error, failed.states[-1]) == ("FAILED", error, state), failed
    sandbox.no_faults()
    redriven = standard.stack.run_from(state, failed.inputs[state])
    assert redriven.status == "SUCCEEDED", redriven
    assert redriven.states == IN_ORDER[IN_ORDER.index(state) :]
    check_the_target(sandbox)


@pytest.mark.parametrize("state", IN_ORDER)
def test_an_execution_that_did_all_may_begin_again_anywhere(standard, state):
    """As after an answer that was lost: the state was done, and is done once more."""
    sandbox = standard.start()
    first = standard.run()
    assert first.status == "SUCCEEDED", first
    again = standard.stack.run_from(state, first.inputs[state])
    assert again.status == "SUCCEEDED", again
    check_the_target(sandbox)


@pytest.mark.parametrize(("fault", "state"), [("answers=file:403", "Transfer batches"), (None, "Check batches")])
def test_the_distributed_workflow_goes_on_from_its_own_states(distributed, fault, state):
    sandbox = distributed.start(*(["--fault", fault] if fault else []))
    first = distributed.run()
    assert first.status == ("FAILED" if fault else "SUCCEEDED"), first
    sandbox.no_faults()
    redriven = distributed.stack.run_from(state, first.inputs[state])
    assert redriven.status == "SUCCEEDED", redriven
    check_the_target(sandbox)
