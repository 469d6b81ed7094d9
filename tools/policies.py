"""The policies that docs/policies gives people to copy are what IAM takes, and reach as far as they must.

IAM's own limits (form, size), and: whoever deploys may make each kind of resource that template.yaml has, and Pathling may
read what `transfer-to-s3` writes, and nothing else. Whether AWS asks for an action more, only AWS tells. tools/check.py
calls the checks.
"""

import json
import re

from workflow import ROOT, template

POLICIES = ROOT / "docs/policies"
# IAM's limit for a managed policy, in characters that are no white space.
LIMIT = 6144
# The service in a resource type's name, where the actions call it otherwise; and what SAM makes of its own types.
SERVICES = {
    "CloudWatch": "cloudwatch",
    "EC2": "ec2",
    "Events": "events",
    "IAM": "iam",
    "Lambda": "lambda",
    "Logs": "logs",
    "S3": "s3",
    "SNS": "sns",
    "SQS": "sqs",
    "StepFunctions": "states",
}
SERVERLESS = {"Function": "Lambda", "StateMachine": "StepFunctions"}


def listed(value):
    return value if isinstance(value, list) else [value]


def policy(name):
    return json.loads((POLICIES / name).read_text())


def actions(name):
    return {action for statement in policy(name)["Statement"] for action in listed(statement["Action"])}


def check_form():
    for path in sorted(POLICIES.glob("*.json")):
        described = policy(path.name)
        if described["Version"] != "2012-10-17":
            yield f"{path.name}: the version is {described['Version']}"
        size = len(re.sub(r"\s", "", path.read_text()))
        if size > LIMIT:
            yield f"{path.name} has {size} characters; IAM takes {LIMIT}"
        sids = [statement["Sid"] for statement in described["Statement"]]
        if len(set(sids)) != len(sids) or not all(sid.isalnum() for sid in sids):
            yield f"{path.name}: the statements' names {sids} are not letters, or not unlike"
        for statement in described["Statement"]:
            if set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"} or statement["Effect"] != "Allow":
                yield f"{path.name}: {statement['Sid']} is not what is expected"
            for action in listed(statement["Action"]):
                if not re.fullmatch(r"[a-z0-9]+:[A-Z]\w*\*?", action):
                    yield f"{path.name}: {action} is no action"
            for resource in listed(statement["Resource"]):
                if resource != "*" and not re.fullmatch(r"arn:[\w*-]+:[\w-]+:[\w*-]*:[\w*-]*:.+", resource):
                    yield f"{path.name}: {resource} is no ARN"


def check_deploy():
    may = actions("deploy.json")
    for name, resource in template()["Resources"].items():
        _, service, kind = resource["Type"].split("::")
        if service == "Serverless":
            service = SERVERLESS[kind]
        if service not in SERVICES:
            yield f"deploy.json: nothing is known of {resource['Type']} ({name})"
        elif not any(action.startswith(f"{SERVICES[service]}:") for action in may):
            yield f"deploy.json does not let anybody make {name} ({resource['Type']})"


def check_pathling():
    """It reads runs/, and nothing of sync/."""
    if actions("pathling.json") != {"s3:GetObject", "s3:ListBucket"}:
        yield f"pathling.json allows {sorted(actions('pathling.json'))}"
    resources = {resource for one in policy("pathling.json")["Statement"] for resource in listed(one["Resource"])}
    if resources != {"arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/runs/*"}:
        yield f"pathling.json reaches {sorted(resources)}"
