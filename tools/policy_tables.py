"""What tools/policies.py looks up: names of what a stack has, and who asks for which action."""

import json

from samcli.lib.bootstrap.bootstrap import _get_stack_template

HERE = "eu-central-1:123456789012"
# What docs/policies leaves open for whoever uses a policy to put in: the staging bucket and the state machine.
BUCKET, MACHINE = "BUCKET", "StateMachine-X"
ROLE = "arn:aws:iam::123456789012:role/pathling-import-FhirExportRole-X"
ZIPS = "arn:aws:s3:::aws-sam-cli-managed-default-samclisourcebucket-x"
STACK = f"arn:aws:cloudformation:{HERE}:stack/pathling-import/1f2e"
SAMS_STACK = f"arn:aws:cloudformation:{HERE}:stack/aws-sam-cli-managed-default/1f2e"

# SAM's types, and what it makes of them.
SERVERLESS = {
    "AWS::Serverless::Function": "AWS::Lambda::Function",
    "AWS::Serverless::StateMachine": "AWS::StepFunctions::StateMachine",
}
# What SAM makes for itself at the first deploy.
SAMS_OWN = list(json.loads(_get_stack_template())["Resources"].values())

# The names of what a stack is made of, by its type: first its own, then what else is touched with it.
RESOURCES = {
    "AWS::CloudWatch::Alarm": [f"arn:aws:cloudwatch:{HERE}:alarm:pathling-import-NoSuccessAlarm-X"],
    "AWS::CloudWatch::Dashboard": ["arn:aws:cloudwatch::123456789012:dashboard/pathling-import-eu-central-1"],
    "AWS::Events::Rule": [f"arn:aws:events:{HERE}:rule/pathling-import-ScheduleRule-X", ROLE],
    "AWS::IAM::ManagedPolicy": ["arn:aws:iam::123456789012:policy/pathling-import-NetworkPolicy-X", ROLE],
    "AWS::IAM::Policy": [ROLE],
    "AWS::IAM::Role": [ROLE],
    "AWS::Lambda::Function": [f"arn:aws:lambda:{HERE}:function:pathling-import-FhirExportFunction-X", ROLE, f"{ZIPS}/pathling-import/1f2e"],
    "AWS::Logs::LogGroup": [f"arn:aws:logs:{HERE}:log-group:pathling-import-FhirExportLogs-X"],
    "AWS::S3::Bucket": ["arn:aws:s3:::pathling-import-stagingbucket-x"],
    "AWS::S3::BucketPolicy": ["arn:aws:s3:::pathling-import-stagingbucket-x"],
    "AWS::SNS::Subscription": [f"arn:aws:sns:{HERE}:pathling-import-AlarmTopic-X"],
    "AWS::SNS::Topic": [f"arn:aws:sns:{HERE}:pathling-import-AlarmTopic-X"],
    "AWS::SQS::Queue": [f"arn:aws:sqs:{HERE}:pathling-import-ScheduleDeadLetterQueue-X"],
    "AWS::SQS::QueuePolicy": [f"arn:aws:sqs:{HERE}:pathling-import-ScheduleDeadLetterQueue-X"],
    "AWS::StepFunctions::StateMachine": [f"arn:aws:states:{HERE}:stateMachine:{MACHINE}", ROLE, f"{ZIPS}/pathling-import/1f2e"],
}

# What CloudFormation's schemas call otherwise than IAM does.
OTHERWISE = {
    "s3:DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
}

# What CloudFormation asks for only where a resource has this property.
UNUSED = {
    "AWS::IAM::ManagedPolicy": {"Groups": ["iam:*GroupPolicy"], "Users": ["iam:*UserPolicy"]},
    "AWS::IAM::Policy": {"Groups": ["iam:*GroupPolicy"], "Users": ["iam:*UserPolicy"]},
    "AWS::IAM::Role": {"PermissionsBoundary": ["iam:*PermissionsBoundary"], "Description": ["iam:UpdateRoleDescription"]},
    "AWS::Lambda::Function": {
        "FileSystemConfigs": ["elasticfilesystem:*", "s3files:*"],
        "KmsKeyArn": ["kms:*"],
        "RecursiveLoop": ["lambda:PutFunctionRecursionConfig"],
        "FunctionScalingConfig": ["lambda:PutFunctionScalingConfig"],
        "CapacityProviderConfig": ["lambda:PassCapacityProvider"],
        "RuntimeManagementConfig": ["lambda:PutRuntimeManagementConfig", "lambda:AssociateRuntimeAlias"],
        "CodeSigningConfigArn": ["lambda:PutFunctionCodeSigningConfig", "lambda:DeleteFunctionCodeSigningConfig"],
        "PublishToLatestPublished": ["lambda:PublishVersion"],
    },
    "AWS::Logs::LogGroup": {
        "DataProtectionPolicy": [
            "logs:PutDataProtectionPolicy", "logs:DeleteDataProtectionPolicy", "logs:CreateLogDelivery", "s3:REST.PUT.OBJECT", "firehose:*",
        ],
        "FieldIndexPolicies": ["logs:PutIndexPolicy", "logs:DeleteIndexPolicy"],
        "ResourcePolicyDocument": ["logs:PutResourcePolicy", "logs:DeleteResourcePolicy"],
        "BearerTokenAuthenticationEnabled": ["logs:PutBearerTokenAuthentication"],
        "KmsKeyId": ["logs:*KmsKey"],
        "DeletionProtectionEnabled": ["logs:PutLogGroupDeletionProtection"],
    },
    "AWS::S3::Bucket": {
        "AbacStatus": ["s3:PutBucketAbac"],
        "AccelerateConfiguration": ["s3:PutAccelerateConfiguration"],
        "AccessControl": ["s3:PutBucketAcl", "s3:PutObjectAcl", "s3:DeleteObject"],
        "AnalyticsConfigurations": ["s3:PutAnalyticsConfiguration", "s3:DeleteBucketAnalyticsConfiguration"],
        "CorsConfiguration": ["s3:PutBucketCORS", "s3:DeleteBucketCors"],
        "IntelligentTieringConfigurations": ["s3:PutIntelligentTieringConfiguration"],
        "InventoryConfigurations": ["s3:PutInventoryConfiguration"],
        "LifecycleConfiguration": ["s3:PutLifecycleConfiguration"],
        "LoggingConfiguration": ["s3:PutBucketLogging"],
        "MetadataTableConfiguration": ["s3tables:*", "s3:*BucketMetadata*"],
        "MetricsConfigurations": ["s3:PutMetricsConfiguration", "s3:DeleteBucketMetricsConfiguration"],
        "NotificationConfiguration": ["s3:PutBucketNotification"],
        "ObjectLockConfiguration": ["s3:PutBucketObjectLockConfiguration", "s3:PutObjectLockConfiguration"],
        "OwnershipControls": ["s3:PutBucketOwnershipControls"],
        "ReplicationConfiguration": ["s3:PutBucketReplication", "s3:PutReplicationConfiguration", "s3:DeleteBucketReplication", "iam:PassRole"],
        "WebsiteConfiguration": ["s3:PutBucketWebsite", "s3:DeleteBucketWebsite"],
    },
    "AWS::SNS::Subscription": {"SubscriptionRoleArn": ["iam:*Role"]},
    "AWS::SNS::Topic": {"DataProtectionPolicy": ["sns:PutDataProtectionPolicy"], "DeliveryStatusLogging": ["iam:*Role"]},
    "AWS::StepFunctions::StateMachine": {"EncryptionConfiguration": ["kms:*"]},
}

# What the tools do themselves: the stack by change sets, SAM's own stack, the zip files, and the removal of all of it.
BEYOND = [
    *((f"cloudformation:{name}", [stack]) for stack in (STACK, SAMS_STACK) for name in (
        "CreateChangeSet", "DescribeChangeSet", "ExecuteChangeSet", "ListChangeSets", "DescribeStacks", "DescribeStackEvents",
        "ListStackResources", "GetTemplate", "GetTemplateSummary", "DeleteStack", "TagResource", "UpdateStack",
    )),
    ("cloudformation:CreateChangeSet", ["arn:aws:cloudformation:eu-central-1:aws:transform/Serverless-2016-10-31"]),
    # A definition is validated as by whoever makes a state machine of it.
    ("states:ValidateStateMachineDefinition", []),
    *((f"s3:{name}", [ZIPS]) for name in ("CreateBucket", "ListBucket", "ListBucketVersions", "DeleteBucket")),
    *((f"s3:{name}", [f"{ZIPS}/pathling-import/1f2e"]) for name in ("GetObject", "PutObject", "DeleteObject")),
]  # fmt: skip

OF_MACHINE = f"arn:aws:states:{HERE}:stateMachine:{MACHINE}"
OF_EXECUTION = f"arn:aws:states:{HERE}:execution:{MACHINE}:nightly"
OF_QUEUE = f"arn:aws:sqs:{HERE}:pathling-import-ScheduleDeadLetterQueue-X"
OF_LOGS = f"arn:aws:logs:{HERE}:log-group:pathling-import-FhirExportLogs-X:*"
# What a command of the AWS CLI does. Braces name one of its options, or the bucket and key.
COMMANDS = {
    "stepfunctions start-execution": [("states:StartExecution", OF_MACHINE)],
    "stepfunctions list-executions": [("states:ListExecutions", OF_MACHINE)],
    "stepfunctions describe-execution": [("states:DescribeExecution", OF_EXECUTION)],
    "stepfunctions get-execution-history": [("states:GetExecutionHistory", OF_EXECUTION)],
    "stepfunctions stop-execution": [("states:StopExecution", OF_EXECUTION)],
    "stepfunctions redrive-execution": [("states:RedriveExecution", OF_EXECUTION)],
    "secretsmanager create-secret": [("secretsmanager:CreateSecret", f"arn:aws:secretsmanager:{HERE}:secret:{{name}}-AbCdEf")],
    "iam create-policy": [("iam:CreatePolicy", "arn:aws:iam::123456789012:policy/{policy-name}")],
    "sqs receive-message": [("sqs:ReceiveMessage", OF_QUEUE)],
    "sqs purge-queue": [("sqs:PurgeQueue", OF_QUEUE)],
    "logs tail": [("logs:FilterLogEvents", OF_LOGS)],
    "cloudformation describe-stack-resources": [("cloudformation:DescribeStackResources", STACK)],
    "s3 cp": [("s3:GetObject", "arn:aws:s3:::{place}")],
    "s3 rm": [("s3:ListBucket", "arn:aws:s3:::{place}"), ("s3:DeleteObject", "arn:aws:s3:::{place}/sync/1f2e.json")],
    "s3 rb": [("s3:DeleteBucket", "arn:aws:s3:::{place}")],
}

# The state of an export's files: what is in them, who may see it, and what is nobody's but the steps'.
RECORDS = ["runs/1f2e/_run.json", "sync/1f2e.json"]
STAGED = ["runs/1f2e/Patient/00000-1f2e.ndjson", "runs/1f2e/_errors/0.ndjson", "runs/1f2e/_deleted/list.jsonl", "runs/1f2e/_manifest.json"]
OF_WORKERS = f"{MACHINE}/TransferBatch:1f2e"
# What an operator looks at beside what commands show: consoles, the workers of a Map, the outputs of the stack.
LOOKED_AT = [
    *((f"states:{name}", [OF_MACHINE]) for name in ("DescribeStateMachine", "ListExecutions")),
    *((f"states:{name}", [f"arn:aws:states:{HERE}:execution:{OF_WORKERS}"]) for name in ("DescribeExecution", "GetExecutionHistory")),
    *((f"states:{name}", [f"arn:aws:states:{HERE}:mapRun:{OF_WORKERS}"]) for name in ("DescribeMapRun", "ListExecutions")),
    ("states:ListMapRuns", [OF_EXECUTION]),
    ("states:ListStateMachines", []),
    *((f"logs:{name}", [OF_LOGS]) for name in ("DescribeLogStreams", "GetLogEvents", "StartQuery")),
    *((f"logs:{name}", []) for name in ("DescribeLogGroups", "GetQueryResults", "StopQuery")),
    ("cloudwatch:GetDashboard", RESOURCES["AWS::CloudWatch::Dashboard"]),
    *((f"cloudwatch:{name}", []) for name in ("DescribeAlarmHistory", "DescribeAlarms", "GetMetricData", "ListDashboards", "ListMetrics")),
    *((f"cloudformation:{name}", [STACK]) for name in ("DescribeStacks", "ListStackResources")),
    ("sqs:GetQueueAttributes", [OF_QUEUE]),
    *(("s3:GetObject", [f"arn:aws:s3:::{BUCKET}/{key}"]) for key in RECORDS),
]
# To empty a bucket that has versions.
EMPTIED = [("s3:ListBucketVersions", [f"arn:aws:s3:::{BUCKET}"]), ("s3:DeleteObjectVersion", [f"arn:aws:s3:::{BUCKET}/runs/1f2e/_run.json"])]


def _in_bucket(action, keys, bucket=BUCKET):
    return [(action, f"arn:aws:s3:::{bucket}/{key}") for key in keys]


# What a policy must not allow, whatever it is written like.
CLOSED = {
    "deploy.json": [
        *_in_bucket("s3:GetObject", [*RECORDS, *STAGED], "pathling-import-stagingbucket-x"),
        *_in_bucket("s3:DeleteObject", RECORDS, "pathling-import-stagingbucket-x"),
        ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{HERE}:secret:pathling-import/source-AbCdEf"),
        ("iam:PutRolePolicy", "arn:aws:iam::123456789012:role/another"),
    ],
    "operate.json": [
        *_in_bucket("s3:GetObject", STAGED),
        *_in_bucket("s3:PutObject", RECORDS),
        *_in_bucket("s3:DeleteObject", RECORDS),
        ("states:StartExecution", f"arn:aws:states:{HERE}:stateMachine:Another-X"),
        ("lambda:InvokeFunction", RESOURCES["AWS::Lambda::Function"][0]),
        ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{HERE}:secret:pathling-import/source-AbCdEf"),
    ],
    "pathling.json": [*_in_bucket("s3:GetObject", ["sync/1f2e.json"]), *_in_bucket("s3:PutObject", STAGED)],
    "remove.json": [*_in_bucket("s3:GetObject", [*RECORDS, *STAGED]), *_in_bucket("s3:DeleteObject", RECORDS, "another")],
}
