"""What the general checkers do not see in template.yaml, and a local AWS passes in silence: settings, secrets, and who may
do what. tools/watching_checks.py has the alarms and the dashboard; tools/check.py calls both.
"""

import re

from workflow import ROOT, STEPS, settings, template, variables

# Variables of the functions that are no operator's choice, or are not this program's own.
NO_PARAMETER = {"STAGING_URL": "the stack's bucket", "METRICS_NAMESPACE": "the stack's name", "TRANSFER_BATCHES": "Workflow"}
NO_SETTING = {"AWS_ENDPOINT_URL": "the AWS SDK's own"}
# Actions for which IAM knows no resource, or none that could be known here.
WITHOUT_RESOURCE = re.compile(r"xray:|logs:\w*(LogDeliver|ResourcePolic|DescribeLogGroups)|ec2:\w*(NetworkInterface|Subnets|PrivateIp)")


def listed(value):
    return value if isinstance(value, list) else [value]


def unless_missing(value):
    """A value without the conditions that it depends on: of an If, the part that is something."""
    while isinstance(value, dict) and "Fn::If" in value:
        _, yes, no = value["Fn::If"]
        value = no if yes == {"Ref": "AWS::NoValue"} else yes
    return value


def statements(role):
    """All statements that a role has, wherever they stand."""
    resources = template()["Resources"]
    policies = [policy["PolicyDocument"] for policy in resources[role]["Properties"]["Policies"]]
    managed = [unless_missing(one)["Ref"] for one in resources[role]["Properties"].get("ManagedPolicyArns", [])]
    policies += [resources[name]["Properties"]["PolicyDocument"] for name in managed]
    for resource in resources.values():
        if resource["Type"] == "AWS::IAM::Policy" and {"Ref": role} in resource["Properties"]["Roles"]:
            policies.append(resource["Properties"]["PolicyDocument"])
    return [unless_missing(statement) for policy in policies for statement in policy["Statement"]]


def roles():
    return [name for name, what in template()["Resources"].items() if what["Type"] == "AWS::IAM::Role"]


def role_of(step):
    return template()["Resources"][STEPS[step]]["Properties"]["Role"]["Fn::GetAtt"][0]


def on_bucket(step):
    """What a step may do with which keys of the bucket: pairs of both."""
    found = set()
    for statement in statements(role_of(step)):
        for action in listed(statement["Action"]):
            if statement["Effect"] == "Allow" and action.startswith("s3:"):
                for resource in listed(statement["Resource"]):
                    key = resource.get("Fn::Sub", "").removeprefix("${StagingBucket.Arn}/")
                    found.add((action, key))
    return found


def check_parameters():
    described = template()
    groups = described["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    if sorted(grouped) != sorted(described["Parameters"]):
        yield f"not every parameter is in one group: {sorted(set(grouped) ^ set(described['Parameters']))}"
    elif grouped != list(described["Parameters"]):
        yield "the parameters do not stand in the order of their groups"
    for name, what in described["Parameters"].items():
        if not what.get("Description"):
            yield f"{name} has no description"


def check_environment():
    described = template()
    shared = set(described["Globals"]["Function"]["Environment"]["Variables"])
    for step, read in settings().items():
        if not read:
            yield f"docs/configuration.md names no setting of {step}"
        given = variables(described, step)
        yield from (f"{step}: {name} is not set by the template" for name in sorted(read - set(given)))
        for name in sorted(set(given) - read - set(NO_SETTING)):
            yield f"{step}: {name} is set{' for all' if name in shared else ''}, but the step does not read it"
        for name, value in given.items():
            if name not in NO_PARAMETER and not re.search(r"'Ref': '\w+'", str(value)):
                yield f"{step}: {name} has no parameter: {value}"


def check_secrets():
    """A secret is an ARN in the environment, and the steps that are given it may read it: nobody else."""
    described = template()
    table = (ROOT / "crates/core/src/config/table/rows.rs").read_text()
    secret = set(re.findall(r'\("([A-Z_]+)", Form::(?:Secret|Headers)', table))
    if "{{resolve:" in (ROOT / "template.yaml").read_text():
        yield "a secret is resolved by CloudFormation: who may read a function's configuration reads it"
    for name, what in described["Parameters"].items():
        if what.get("NoEcho"):
            yield f"{name} is a secret that is given as it is"
    for step in STEPS:
        given = {name: value for name, value in variables(described, step).items() if name in secret}
        for name, value in given.items():
            pattern = described["Parameters"].get(value.get("Ref"), {}).get("AllowedPattern", "")
            if "secretsmanager" not in pattern:
                yield f"{step}: {name} need not be the ARN of a secret"
        readable = set()
        for statement in statements(role_of(step)):
            if "secretsmanager:GetSecretValue" in listed(statement["Action"]):
                for resource in listed(statement["Resource"]):
                    readable |= set(re.findall(r"'Fn::Split': \['#', {'Ref': '(\w+)'}", str(unless_missing(resource))))
        wanted = {value["Ref"] for value in given.values() if "Ref" in value}
        yield from (f"{step}: {name} is not open to its role" for name in sorted(wanted - readable))
        yield from (f"{step}: its role may read {name}, which it is not given" for name in sorted(readable - wanted))


def check_policies():
    for role in roles():
        for statement in statements(role):
            actions, resources = listed(statement["Action"]), listed(statement["Resource"])
            if statement["Effect"] != "Allow":
                continue
            for action in actions:
                if "*" in action or ":" not in action:
                    yield f"{role}: {action} is more than one action"
            if "*" in resources and not all(WITHOUT_RESOURCE.match(action) for action in actions):
                yield f"{role}: {', '.join(actions)} on everything"
    for step in STEPS:
        role = role_of(step)
        if [name for name in STEPS if role_of(name) == role] != [step]:
            yield f"{role} is not the role of {step} alone"


def check_network():
    """Where there is a VPC, all functions are in it, and each role may have it so; the functions themselves may not."""
    described = template()
    if described["Globals"]["Function"].get("VpcConfig") != {
        "Fn::If": [
            "HasVpc",
            {"SubnetIds": {"Ref": "VpcSubnetIds"}, "SecurityGroupIds": {"Ref": "VpcSecurityGroupIds"}},
            {"Ref": "AWS::NoValue"},
        ]
    }:
        yield f"the functions' network is {described['Globals']['Function'].get('VpcConfig')}"
    for step, function in STEPS.items():
        if "VpcConfig" in described["Resources"][function]["Properties"]:
            yield f"{step} has a network of its own"
        of = [one for one in statements(role_of(step)) if "ec2:CreateNetworkInterface" in listed(one["Action"])]
        if [one["Effect"] for one in of] != ["Allow", "Deny"] or of[0]["Action"] != of[1]["Action"]:
            yield f"{step}: interfaces are made by {of}"


def check_tracing():
    """What is traced may say so, and is by the one parameter."""
    described = template()
    if described["Globals"]["Function"].get("Tracing") != {"Fn::If": ["IsTraced", "Active", "PassThrough"]}:
        yield f"the functions are traced by {described['Globals']['Function'].get('Tracing')}"
    for name in ("StateMachine", "DistributedStateMachine"):
        if described["Resources"][name]["Properties"].get("Tracing") != {"Enabled": {"Fn::If": ["IsTraced", True, False]}}:
            yield f"{name} is traced by {described['Resources'][name]['Properties'].get('Tracing')}"
    for role in [*map(role_of, STEPS), "StateMachineRole"]:
        if "xray:PutTraceSegments" not in str(statements(role)):
            yield f"{role} may not write traces"


def check_bucket_access():
    """Exported resources are transfer-to-s3's alone, and so is deleting; what was synchronised when is deleted by nobody."""
    for step in STEPS:
        for action, key in sorted(on_bucket(step)):
            if step != "transfer-to-s3":
                if key.startswith("runs/") and not key.startswith("runs/*/_"):
                    yield f"{step}: {action} on {key}, where exported resources are"
                if action in ("s3:DeleteObject", "s3:ListBucket"):
                    yield f"{step}: {action}"
            elif action == "s3:DeleteObject" and key not in ("runs/*/_parts/*", "runs/*/*-*-*.ndjson"):
                yield f"{step}: {action} on {key}"
        for statement in statements(role_of(step)):
            if "s3:ListBucket" in listed(statement["Action"]):
                if statement.get("Condition") != {"StringLike": {"s3:prefix": "runs/*"}}:
                    yield f"{step}: s3:ListBucket is not bound to runs/"


def check_bucket():
    resources = template()["Resources"]
    bucket = resources["StagingBucket"]["Properties"]
    rules = bucket["LifecycleConfiguration"]["Rules"]
    expiring = [rule.get("Prefix") for rule in rules if "ExpirationInDays" in rule]
    if expiring != ["runs/"]:
        yield f"objects under {expiring} expire; under runs/ alone they may, for sync/ holds the watermark"
    if not any(rule.get("AbortIncompleteMultipartUpload") == {"DaysAfterInitiation": 1} for rule in rules):
        yield "uploads that were not completed stay"
    versions = {rule.get("Prefix") for rule in rules if "NoncurrentVersionExpiration" in rule}
    if versions != {"runs/", "sync/"}:
        yield f"what was replaced goes away under {versions} alone, where there are versions"
    if set(bucket["PublicAccessBlockConfiguration"].values()) != {True} or len(bucket["PublicAccessBlockConfiguration"]) != 4:
        yield "public access is not blocked"
    encryption = str(bucket["BucketEncryption"])
    if "'SSEAlgorithm': 'aws:kms', 'KMSMasterKeyID': {'Ref': 'StagingKmsKeyArn'}" not in encryption or "AES256" not in encryption:
        yield f"the bucket is encrypted by {encryption}"
    denied = resources["StagingBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    if not any(
        one["Effect"] == "Deny" and one["Condition"] == {"Bool": {"aws:SecureTransport": "false"}} for one in denied
    ):
        yield "the bucket may be used without TLS"
    for step in STEPS:
        with_key = [one for one in statements(role_of(step)) if one["Resource"] == {"Ref": "StagingKmsKeyArn"}]
        if sorted(action for one in with_key for action in one["Action"]) != ["kms:Decrypt", "kms:GenerateDataKey"]:
            yield f"{step}: its role cannot use the bucket's key"
