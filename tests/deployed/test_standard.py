"""The stack as it is deployed by default."""

IN_ORDER = [
    "FHIR export",
    "Check export status",
    "Transfer to S3",
    "Pathling import",
    "Check import result",
    "Check import status",
]


def test_a_first_execution_brings_everything_and_a_second_one_only_changes(standard):
    sandbox = standard.start("--polls", "6")
    first = standard.run()
    assert first.status == "SUCCEEDED", first
    assert first.states == IN_ORDER
