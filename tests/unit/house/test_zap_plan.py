"""The plan of a ZAP scan is one that ZAP takes, as far as its documentation says, and what it names is there (R107).

https://www.zaproxy.org/docs/desktop/addons/automation-framework/ and the pages of the jobs' add-ons.
"""

import re
from typing import Any

import pytest
import yaml

from tests.support.stack import ROOT

TEXT = (ROOT / "deploy" / "zap" / "plan.yaml").read_text(encoding="utf-8")
PLAN: Any = yaml.safe_load(TEXT)
# Of each job the parameters that are documented, and what may stand beside them.
KNOWN = {
    "replacer": ({"deleteAllRules"}, {"rules"}),
    "passiveScan-config": (
        {"maxAlertsPerRule", "scanOnlyInScope", "maxBodySizeInBytesToScan", "enableTags", "disableAllRules"}, {"rules"}
    ),
    "openapi": ({"apiFile", "apiUrl", "context", "user", "targetUrl"}, set()),
    "spider": (
        {"context", "user", "url", "maxDuration", "maxDepth", "maxChildren", "threadCount", "acceptCookies"}, {"tests"}
    ),
    "passiveScan-wait": ({"maxDuration"}, {"tests"}),
    "activeScan": (
        {
            "context", "user", "policy", "maxRuleDurationInMins", "maxScanDurationInMins", "addQueryParam",
            "defaultPolicy", "delayInMs", "handleAntiCSRFTokens", "injectPluginIdInHeader", "scanHeadersAllRequests",
            "threadPerHost", "maxAlertsPerRule",
        },
        {"policyDefinition", "tests"},
    ),
    "report": (
        {"template", "theme", "reportDir", "reportFile", "reportTitle", "reportDescription", "displayReport"},
        {"risks", "confidences", "sections", "sites"},
    ),
    "exitStatus": ({"errorLevel", "warnLevel", "okExitValue", "errorExitValue", "warnExitValue"}, set()),
}  # fmt: skip
VARIABLES = {"ZAP_TARGET", "ZAP_TOKEN"}


@pytest.mark.requirement("R107")
def test_every_job_and_parameter_is_one_that_zap_documents() -> None:
    assert PLAN.keys() == {"env", "jobs"}
    (context,) = PLAN["env"]["contexts"]
    assert context.keys() <= {"name", "urls", "includePaths", "excludePaths", "authentication", "sessionManagement"}
    for job in PLAN["jobs"]:
        parameters, beside = KNOWN[job["type"]]
        assert job.keys() <= {"type", "name", "enabled", "parameters"} | beside, job["type"]
        assert job["parameters"].keys() <= parameters, job["type"]
        assert job["parameters"].get("context", context["name"]) == context["name"]


@pytest.mark.requirement("R107")
def test_it_learns_the_api_looks_and_attacks_and_tells_in_this_order_and_in_bounded_time() -> None:
    kinds = [job["type"] for job in PLAN["jobs"]]
    order = ["replacer", "openapi", "spider", "activeScan", "report", "exitStatus"]
    assert [kind for kind in dict.fromkeys(kinds) if kind in order] == order
    bounded = {"spider": "maxDuration", "passiveScan-wait": "maxDuration", "activeScan": "maxScanDurationInMins"}
    assert all(job["parameters"][bounded[job["type"]]] > 0 for job in PLAN["jobs"] if job["type"] in bounded)


@pytest.mark.requirement("R107")
def test_what_is_secret_or_of_a_place_comes_from_the_environment_and_is_documented() -> None:
    assert set(re.findall(r"\$\{(\w+)\}", TEXT)) == VARIABLES
    assert not re.search(r"eyJ|_sk_|https?://(?!www\.zaproxy\.org|HOST)", TEXT)
    page = (ROOT / "docs" / "operate" / "scanning.md").read_text(encoding="utf-8")
    assert all(name in page for name in VARIABLES)
    for job in PLAN["jobs"]:
        for rule in job.get("rules", ()):
            assert rule.keys() <= {
                "description", "url", "matchType", "matchString", "matchRegex", "replacementString", "tokenProcessing",
                "initiators",
            }  # fmt: skip
            assert rule["matchType"] in {"req_header", "req_body_str", "resp_header"}


@pytest.mark.requirement("R107")
def test_what_it_reads_and_leaves_out_is_served_by_central() -> None:
    central: Any = yaml.safe_load((ROOT / "envoy" / "gateways" / "central.yaml").read_text(encoding="utf-8"))
    served = {route["path"] for route in central["routes"].values()}
    target = "${ZAP_TARGET}"
    read = [
        job["parameters"][name].removeprefix(target)
        for job in PLAN["jobs"]
        for name in ("apiUrl", "url")
        if name in job["parameters"]
    ]
    assert set(read) == {"/api/openapi.json", "/portal"} <= served
    for pattern in (*PLAN["env"]["contexts"][0]["includePaths"], *PLAN["env"]["contexts"][0]["excludePaths"]):
        re.compile(pattern.replace(target, "https://example"))
