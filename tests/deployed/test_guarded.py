"""The stack with what is off by default, all at once: keys of KMS, a VPC, traces, versions, reports to Sentry, and secrets that
are members of an object.

ministack drops a function's VpcConfig, a state machine's tracing and a bucket's encryption where CloudFormation gives them, and
asks no key for anything: so of these the roles' policies show here, and `make check-template` reads the rest in the template.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import workflow
from checks import check_the_target, statements
from sites import Site

from local_aws import ACCOUNT, REGION

SUBNET, GROUP = "subnet-0123456789abcdef0", "sg-0123456789abcdef0"
THROUGH_S3 = {"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}}
THROUGH_SECRETS = {"StringEquals": {"kms:ViaService": f"secretsmanager.{REGION}.amazonaws.com"}}


class Sentry(ThreadingHTTPServer):
    """Where failures are reported: what came, as text."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Reported)
        self.came = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def dsn(self):
        return f"http://public@127.0.0.1:{self.server_port}/1"


class Reported(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.came.append(self.rfile.read(int(self.headers["Content-Length"])).decode(errors="replace"))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def sentry():
    with Sentry() as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def keys(cloud):
    client = cloud.aws.client("kms")
    return [client.create_key(Description=what)["KeyMetadata"]["Arn"] for what in ("staging", "secrets")]


@pytest.fixture(scope="module")
def guarded_site(cloud, sentry, keys):
    kept = cloud.secret("guarded/sentry", json.dumps({"dsn": sentry.dsn}))
    return Site(
        cloud,
        "guarded",
        StagingKmsKeyArn=keys[0],
        SecretsKmsKeyArn=keys[1],
        StagingVersioning="true",
        TracingEnabled="true",
        VpcSubnetIds=SUBNET,
        VpcSecurityGroupIds=GROUP,
        SentryDsnSecret=f"{kept}#dsn",
        SentryEnvironment="tests",
    )


@pytest.fixture
def guarded(guarded_site):
    guarded_site.stack.empty()
    yield guarded_site
    guarded_site.stop()


def test_a_run_arrives_and_a_failure_is_reported_to_the_address_that_is_kept_as_a_secret(guarded, sentry):
    sandbox = guarded.start()
    execution = guarded.run()
    assert execution.status == "SUCCEEDED", execution
    check_the_target(sandbox)
    assert sentry.came == []
    guarded.stop()
    guarded.stack.empty()
    guarded.start("--fault", "answers=kick-off:401")
    execution = guarded.run()
    assert (execution.status, execution.error) == ("FAILED", "AuthenticationError"), execution
    (report,) = sentry.came
    assert "AuthenticationError" in report and '"environment":"tests"' in report
    assert execution.name in report


def test_the_bucket_keeps_versions(guarded_site, standard_site):
    for site, status in ((guarded_site, "Enabled"), (standard_site, None)):
        stack = site.stack
        assert stack.aws.buckets.get_bucket_versioning(Bucket=stack.bucket).get("Status") == status


@pytest.mark.parametrize("step", workflow.STEPS)
def test_a_function_is_traced_and_has_the_secrets_arns_alone(guarded_site, step):
    stack = guarded_site.stack
    described = stack.aws.lambdas.get_function_configuration(FunctionName=stack.functions[step])
    assert described["TracingConfig"] == {"Mode": "Active"}
    variables = described["Environment"]["Variables"]
    assert variables["SENTRY_DSN"] == guarded_site.parameters["SentryDsnSecret"]
    secret = "SOURCE_CLIENT_SECRET" if "SOURCE_CLIENT_SECRET" in variables else "TARGET_CLIENT_SECRET"
    assert variables[secret].startswith(f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:guarded/")


@pytest.mark.parametrize("step", workflow.STEPS)
def test_a_role_has_what_the_further_parts_need_and_both_keys_through_their_service_alone(guarded_site, keys, step):
    stack = guarded_site.stack
    attached = stack.cloud.iam.list_attached_role_policies(RoleName=stack.roles[step])["AttachedPolicies"]
    assert {one["PolicyArn"] for one in attached} == {stack.physical["NetworkPolicy"], stack.physical["TracingPolicy"]}
    inline = list(statements(stack, stack.roles[step]))
    found = [one for one in inline if "kms" in str(one["Action"])]
    of = {key: [one for one in found if one["Resource"] == key] for key in keys}
    (staging,), secrets = of[keys[0]], of[keys[1]]
    assert (set(staging["Action"]), staging["Condition"]) == ({"kms:GenerateDataKey", "kms:Decrypt"}, THROUGH_S3)
    # Of the side's secrets, and of Sentry's address.
    assert [(one["Action"], one["Condition"]) for one in secrets] == [("kms:Decrypt", THROUGH_SECRETS)] * 2
    readable = [one["Resource"] for one in inline if one["Action"] == "secretsmanager:GetSecretValue"]
    assert guarded_site.parameters["SentryDsnSecret"].removesuffix("#dsn") in readable
