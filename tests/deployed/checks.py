"""What more than one test looks at."""

from states import IN_ORDER


def check_a_whole_run(site):
    """Runs the workflow against a sandbox whose jobs each want six polls, oftener than the retrier of all errors asks."""
    execution = site.run()
    assert execution.status == "SUCCEEDED", execution
    assert execution.states == IN_ORDER
    assert execution.errors["Check export status"] == ["JobInProgressError"] * 6
    assert execution.errors["Check import status"] == ["JobInProgressError"] * 6
    assert execution.errors["FHIR export"] == execution.errors["Transfer to S3"] == []
    assert execution.errors["Pathling import"] == []
    check_the_target(site.sandbox)
    return execution


def check_nothing_to_import(site):
    """Runs the workflow against a sandbox whose source holds nothing."""
    execution = site.run()
    assert execution.status == "SUCCEEDED", execution
    assert execution.states == [*IN_ORDER[:-1], "Import not necessary"]
    assert site.sandbox.counts()[1] == {}


def check_the_target(sandbox):
    """The target has all that the source has, and no token went astray."""
    source, target = sandbox.counts()
    assert source == target
    for kind in source:
        assert sorted(sandbox.source(kind)) == sorted(sandbox.target(kind))
    assert sandbox.token_leaks() == []


def staged(stack, run, kind):
    """A type's staged resources, each as its line."""
    keys = [key for key in stack.keys() if key.startswith(f"runs/{run}/{kind}/")]
    return sorted(line for key in keys for line in stack.read(key).splitlines())


def statements(stack, role):
    """The statements of all of a role's own policies."""
    iam = stack.cloud.iam
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        yield from iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]["Statement"]


def listed(value):
    return value if isinstance(value, list) else [value]
