"""What each function's role allows: no more than its step needs, and nothing that it does not need."""

import json
from contextlib import contextmanager

import pytest
import workflow
from checks import listed, statements

from local_aws import ACCOUNT, REGION
from states import IN_ORDER

# For each step: an action, and the resources, without what is the same in all of them: the bucket is `s3`, its objects
# `s3/`, the step's own log group `logs`, and secrets are told by their side.
READS_SOURCE = ("secretsmanager:GetSecretValue", {"source"})
READS_TARGET = ("secretsmanager:GetSecretValue", {"target"})
LOGS = [("logs:CreateLogStream", {"logs"}), ("logs:PutLogEvents", {"logs"})]


def both(*resources):
    return [("s3:GetObject", set(resources)), ("s3:PutObject", set(resources))]


# What check-export-status writes, beside what it reads.
MANIFEST = ["s3/runs/*/_run.json", "s3/runs/*/_log*.ndjson", "s3/runs/*/_manifest.json", "s3/runs/*/_batches.jsonl", "s3/sync/*"]
TABLE = {
    "fhir-export": [*LOGS, READS_SOURCE, *both("s3/runs/*/_run.json", "s3/runs/*/_log*.ndjson", "s3/sync/*")],
    "check-export-status": [
        *LOGS,
        READS_SOURCE,
        ("s3:GetObject", {*MANIFEST, "s3/runs/*/_early/*"}),
        ("s3:PutObject", set(MANIFEST)),
        ("s3:AbortMultipartUpload", {"s3/runs/*/_manifest.json"}),
    ],
    "transfer-to-s3": [
        *LOGS,
        READS_SOURCE,
        *both("s3/runs/*", "s3/sync/*"),
        ("s3:ListMultipartUploadParts", {"s3/runs/*"}),
        ("s3:AbortMultipartUpload", {"s3/runs/*"}),
        ("s3:DeleteObject", {"s3/runs/*/_parts/*", "s3/runs/*/*-*-*.ndjson"}),
        ("s3:ListBucket", {"s3"}),
        ("s3:ListBucketMultipartUploads", {"s3"}),
    ],
    "pathling-import": [
        *LOGS,
        READS_TARGET,
        ("s3:GetObject", {"s3/runs/*/_run.json", "s3/runs/*/_deleted/list.jsonl", "s3/sync/*"}),
        ("s3:PutObject", {"s3/runs/*/_run.json", "s3/sync/*"}),
    ],
    "check-import-status": [*LOGS, READS_TARGET, *both("s3/runs/*/_run.json", "s3/sync/*")],
}
STATES = dict(zip(TABLE, [state for state in IN_ORDER if state != "Check import result"]))
# What an execution does without, and why.
GOES_ON = {
    # Lambda writes the logs with the function's role, and here without it.
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    # Parts are sent again, and what is given up is left to the bucket's lifecycle.
    "s3:ListMultipartUploadParts",
    "s3:AbortMultipartUpload",
    "s3:ListBucketMultipartUploads",
    # What is staged is asked for file by file. docs/operations.md tells what these four bring.
    "s3:ListBucket",
    # Nothing was left that would have to go.
    "s3:DeleteObject",
}


@pytest.mark.parametrize("step", TABLE)
def test_a_role_allows_what_the_table_says_and_no_more(standard_site, step):
    stack = standard_site.stack
    found = allowed(stack, workflow.STEPS[step].replace("Function", "Role"))
    assert {action: {short(stack, step, one) for one in resources} for action, resources in found.items()} == dict(TABLE[step])
    for statement in statements(stack, stack.roles[step]):
        if "s3:ListBucket" in listed(statement["Action"]):
            assert statement["Condition"] == {"StringLike": {"s3:prefix": "runs/*"}}


def short(stack, step, resource):
    """A resource as the table writes it."""
    logs = stack.physical[workflow.STEPS[step].replace("Function", "Logs")]
    if resource.startswith("arn:aws:logs:") and f":log-group:{logs}" in resource:
        return "logs"
    for side in ("Source", "Target"):
        if f":secret:{stack.name}/{side}" in resource:
            return side.lower()
    return resource.replace(f"arn:aws:s3:::{stack.bucket}", "s3")


# What a state machine needs to deliver its logs. None of it knows a resource.
DELIVERS_LOGS = [
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
]


def of_any_workflow(stack):
    return {"lambda:InvokeFunction": functions(stack)} | {action: {"*"} for action in DELIVERS_LOGS}


def test_the_plain_state_machines_role_invokes_the_five_functions_and_delivers_its_logs_alone(standard_site):
    stack = standard_site.stack
    assert allowed(stack, "StateMachineRole") == of_any_workflow(stack)


def test_the_distributed_one_starts_its_own_workers_and_reads_its_own_batches_too(distributed_site):
    stack = distributed_site.stack
    execution = stack.machine.replace(":stateMachine:", ":execution:")
    assert allowed(stack, "StateMachineRole") == of_any_workflow(stack) | {
        "states:StartExecution": {stack.machine},
        "states:DescribeExecution": {f"{execution}:*", f"{execution}/*"},
        "states:StopExecution": {f"{execution}:*", f"{execution}/*"},
        "states:RedriveExecution": {f"{execution}/TransferBatch:*"},
        "s3:GetObject": {f"arn:aws:s3:::{stack.bucket}/runs/*/_batches.jsonl"},
    }


def functions(stack):
    return {f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}" for name in stack.functions.values()}


def allowed(stack, role):
    """The resources of each action."""
    assert stack.cloud.iam.list_attached_role_policies(RoleName=stack.physical[role])["AttachedPolicies"] == []
    found = {}
    for statement in statements(stack, stack.physical[role]):
        assert statement["Effect"] == "Allow"
        for action in listed(statement["Action"]):
            found.setdefault(action, set()).update(listed(statement["Resource"]))
    return found


@contextmanager
def without(stack, step, action, resource="*"):
    """Takes an action away from a step's role meanwhile."""
    denied = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": action, "Resource": resource}]}
    given = {"RoleName": stack.roles[step], "PolicyName": "taken-away"}
    stack.cloud.iam.put_role_policy(PolicyDocument=json.dumps(denied), **given)
    # What a function keeps of a secret, it keeps for a while.
    stack.start_afresh(step)
    try:
        yield
    finally:
        stack.cloud.iam.delete_role_policy(**given)
        stack.start_afresh(step)


TAKEN = [(step, action) for step, rows in TABLE.items() for action, _ in rows]


@pytest.mark.parametrize(("step", "action"), TAKEN)
def test_a_step_without_one_of_its_actions_fails_by_the_right_name_or_does_without(standard, step, action):
    sandbox = standard.start()
    with without(standard.stack, step, action):
        execution = standard.run()
    if action in GOES_ON:
        assert execution.status == "SUCCEEDED", execution
        source, target = sandbox.counts()
        assert source == target
    else:
        error = "ConfigurationError" if action.startswith("secretsmanager:") else "StagingDeniedError"
        assert (execution.status, execution.error) == ("FAILED", error), execution
        assert execution.states[-1] == STATES[step]
        # Another try would change nothing.
        assert execution.errors[STATES[step]] == [error]
        assert action.split(":")[1] in execution.cause or "denied" in execution.cause, execution.cause


@pytest.mark.parametrize("step", TABLE)
def test_a_step_cannot_read_the_other_sides_secret(standard, step):
    """Were it in a function's settings by mistake, the role would still refuse it."""
    standard.start()
    side, other = ("SOURCE", "TARGET") if READS_SOURCE in TABLE[step] else ("TARGET", "SOURCE")
    secrets = {name.upper(): standard.parameters[f"{name}Password"] for name in ("Source", "Target")}
    with standard.stack.variable(step, f"{side}_PASSWORD", secrets[other]):
        execution = standard.run()
    assert (execution.status, execution.error) == ("FAILED", "ConfigurationError"), execution
    assert execution.states[-1] == STATES[step]
