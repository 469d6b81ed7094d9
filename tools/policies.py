"""The policies that docs/policies gives people to copy are what IAM takes, and allow what they must and no more.

Of who deploys: what CloudFormation's own schemas of the resource types in template.yaml ask for, as cfn-lint brings them
along, what SAM does besides, and the commands of docs/deployment.md. Of operators: the commands of docs/operations.md, and
looking. Of Pathling: what `transfer-to-s3` writes. Whether AWS asks for an action more, only AWS tells. tools/check.py calls
the checks.
"""

import fnmatch
import functools
import json
import re

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from policy_tables import BEYOND, BUCKET, CLOSED, COMMANDS, EMPTIED, LOOKED_AT, MACHINE, OTHERWISE, RESOURCES, SAMS_OWN, SERVERLESS, UNUSED, ZIPS
from template_checks import listed
from workflow import ROOT, template

POLICIES = ROOT / "docs/policies"
# IAM's limit for a managed policy, in characters that are no white space.
LIMIT = 6144
# What an operator changes; all else is looked at.
OPERATED = {"states:StartExecution", "states:StopExecution", "states:RedriveExecution", "sqs:PurgeQueue"}
LOOKING = re.compile(r"\w+:(Get|List|Describe|Filter|Receive|StartQuery|StopQuery)\w*")


@functools.cache
def policy(name):
    return json.loads((POLICIES / name).read_text().replace("MACHINE", MACHINE))


def actions(name):
    return {action for statement in policy(name)["Statement"] for action in listed(statement["Action"])}


def allowing(name, action, resources):
    """The patterns of a policy's actions that allow one on one of these resources."""
    found = set()
    for statement in policy(name)["Statement"]:
        on = [resource for resource in resources if any(matches(resource, one) for one in listed(statement["Resource"]))]
        if on or "*" in listed(statement["Resource"]):
            found |= {pattern for pattern in listed(statement["Action"]) if matches(action, pattern)}
    return found


def matches(text, pattern):
    return fnmatch.fnmatchcase(text, pattern)


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
                if not re.fullmatch(r"[a-z0-9]+:[A-Z][\w*]+", action):
                    yield f"{path.name}: {action} is no action"
            for resource in listed(statement["Resource"]):
                if resource != "*" and not re.fullmatch(r"arn:[\w*-]+:[\w-]+:[\w*-]*:[\w*-]*:.+", resource):
                    yield f"{path.name}: {resource} is no ARN"


def made():
    """What is made by a deployment: a type of resources, the properties of one, and what it and its like are called."""
    for resource in template()["Resources"].values():
        kind = SERVERLESS.get(resource["Type"], resource["Type"])
        if kind not in RESOURCES:
            raise SystemExit(f"template.yaml: what a {kind} is called is not known; add it to RESOURCES in tools/policy_tables.py")
        yield kind, resource.get("Properties", {}), RESOURCES[kind]
    for resource in SAMS_OWN:
        yield resource["Type"], resource["Properties"], [ZIPS]


def wanted_by(kind, properties, arns):
    """The actions with which CloudFormation makes, reads, changes and removes a resource, without those for properties that
    it does not have: pairs of the action and the resources on which it is wanted."""
    handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema["handlers"]
    of = {"create", "read", "update", "delete"}
    asked = {action for name in of & set(handlers) for action in handlers[name]["permissions"]}
    asked = {OTHERWISE.get(action, action) for action in asked}
    for name, patterns in UNUSED.get(kind, {}).items():
        if name not in properties:
            asked = {action for action in asked if not any(matches(action, pattern) for pattern in patterns)}
    for action in asked:
        service = action.split(":")[0]
        yield action, [arn for arn in arns if arn.split(":")[2] == service]


def commands(document, *, of=None, without=None):
    """The commands of the AWS CLI in a document, or in a section of it: pairs of an action and the resources."""
    parts = re.split(r"^## (.+)$", (ROOT / "docs" / document).read_text(), flags=re.MULTILINE)
    sections = {"": parts[0]} | dict(zip(parts[1::2], parts[2::2]))
    text = "\n".join(body for title, body in sections.items() if title != without and of in (None, title))
    for service, name, rest in re.findall(r"\baws ([a-z0-9]+) ([a-z-]+)([^`\n]*)", text):
        command = f"{service} {name}"
        if command not in COMMANDS:
            raise SystemExit(f"docs/{document}: what `aws {command}` needs is not known; add it to COMMANDS in tools/policy_tables.py")
        given = dict(re.findall(r"--([a-z-]+) (\S+)", rest))
        place = re.search(r"s3://\S+", rest)
        given["place"] = place[0].removeprefix("s3://").replace("<StagingBucketName>", BUCKET) if place else ""
        for action, resource in COMMANDS[command]:
            yield action, [re.sub(r"\{([\w-]+)\}", lambda found: given[found[1]], resource)]


def check_deploy():
    """Who deploys may do what that takes, on the resources that it makes, and nothing else."""
    used, missing = set(), set()
    wanted = [pair for one in made() for pair in wanted_by(*one)]
    for action, resources in [*wanted, *BEYOND, *commands("deployment.md", without="Removal")]:
        by = allowing("deploy.json", action, resources)
        if not by:
            missing.add(f"deploy.json does not allow {action} on {' or '.join(resources) or '*'}")
        used |= by
    yield from sorted(missing)
    for action in sorted(actions("deploy.json") - used):
        yield f"deploy.json allows {action}, which no resource, command or tool needs"


def check_unused():
    """Each row of what is not needed is about a resource that is made, and an action that one would ask for."""
    kinds = {kind for kind, *_ in made()}
    for kind, rows in UNUSED.items():
        if kind not in kinds:
            yield f"there is no {kind}"
            continue
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
        asked = {action for handler in schema["handlers"].values() for action in handler["permissions"]}
        for name, patterns in rows.items():
            if name not in schema["properties"]:
                yield f"{kind} has no property {name}"
            yield from (f"{kind} never asks for {one}" for one in patterns if not any(matches(action, one) for action in asked))


def check_remove():
    """What is left of a removed stack, the staging bucket, is removed by who may do just that."""
    used = set()
    for action, resources in [*commands("deployment.md", of="Removal"), *EMPTIED]:
        by = allowing("remove.json", action, resources)
        if not by:
            yield f"remove.json does not allow {action} on {resources}"
        used |= by
    yield from (f"remove.json allows {action}" for action in sorted(actions("remove.json") - used))


def check_operate():
    """Operators may do what docs/operations.md tells them to, and look; they see records, and no resource of a patient's."""
    used = set()
    for action, resources in [*commands("operations.md"), *LOOKED_AT]:
        by = allowing("operate.json", action, resources)
        if not by:
            yield f"operate.json does not allow {action} on {' or '.join(resources) or '*'}"
        used |= by
    for action in sorted(actions("operate.json")):
        if action not in used:
            yield f"operate.json allows {action}, which no command of docs/operations.md needs"
        if action not in OPERATED and not LOOKING.fullmatch(action):
            yield f"operate.json allows {action}, which changes something"


def check_pathling():
    """It reads runs/, and nothing of sync/."""
    if actions("pathling.json") != {"s3:GetObject", "s3:ListBucket"}:
        yield f"pathling.json allows {sorted(actions('pathling.json'))}"
    resources = {resource for one in policy("pathling.json")["Statement"] for resource in listed(one["Resource"])}
    if resources != {"arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/runs/*"}:
        yield f"pathling.json reaches {sorted(resources)}"


def check_closed():
    for path in sorted(POLICIES.glob("*.json")):
        for action, resource in CLOSED[path.name]:
            if allowing(path.name, action, [resource]):
                yield f"{path.name} allows {action} on {resource}"
