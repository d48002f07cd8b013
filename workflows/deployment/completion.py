"""The new model serves: it is tested once more, scaled, noted on the endpoint's tags, reported and told."""

from __future__ import annotations

from stepfunctions.steps.states import Catch, State, Succeed

from workflows import retries
from workflows.deployment import autoscaling, verdicts
from workflows.deployment.alarms import look_at_alarms
from workflows.deployment.endpoint import PRODUCTION
from workflows.deployment.report import report, summed_up
from workflows.deployment.testing import judged_well, test_endpoint
from workflows.failure import notify
from workflows.steps import ServiceTask, catch_all, formatted


def complete(undo: State, failure: State) -> State:
    """From the test in production to the end; a test that fails leads to ``undo``."""
    test = test_endpoint("Test endpoint", PRODUCTION, "production", catch_all(undo))
    test.next(
        judged_well(
            "Does the endpoint answer well?",
            autoscaling.set_where_asked(_note_on_tags(failure), catch_all(failure)),
            verdicts.at_fault(
                "Note that the test failed",
                "The reasons that the endpoint test gave",
                "EndpointTestFailed",
                formatted(
                    "Endpoint {} failed its test: {}",
                    PRODUCTION.name,
                    "States.JsonToString($.record.test.reasons)",
                ),
                undo,
            ),
        )
    )
    return test


def _note_on_tags(failure: State) -> State:
    note = ServiceTask(
        "Note what served before",
        integration="aws-sdk:sagemaker:addTags",
        comment="On the endpoint's tags: its package, and what `triptych rollback` goes back to",
        timeout_seconds=60,
        retry=retries.SAGEMAKER_SDK,
        parameters={"ResourceArn.$": f"{PRODUCTION.at}.EndpointArn", "Tags.$": "$.deployment.tags"},
        result_path=None,
        catch=catch_all(failure),
    )
    reported = report("Report the deployment", _tell())
    alarms = look_at_alarms(
        "Look at the alarms",
        "How they stand at the end",
        [Catch(error_equals=["States.ALL"], result_path="$.alarms_failure", next_step=reported)],
    )
    note.next(alarms)
    alarms.next(reported)
    return note


def _tell() -> State:
    done = Succeed("Endpoint in service", comment="The endpoint serves the model package")
    summary = summed_up(
        "Sum up the deployment",
        "What serves now, how it got there, and what the test saw",
        done,
        **{
            "endpoint_configuration.$": "$.configuration.name",
            "model_name.$": "$.model.name",
            "outcome.$": "$outcome",
        },
    )
    tell = notify(
        "Notify success",
        "Tell the operators",
        formatted("{} serves a new model", PRODUCTION.name),
        formatted(
            "Endpoint {} serves model package {}. Test: {}. Report: {}",
            PRODUCTION.name,
            "$.deployment.model_package_arn",
            "States.JsonToString($.record.test)",
            "$.record.report.report_uri",
        ),
        # the endpoint serves: a message that could not be sent is no reason to fail
        catch=[Catch(error_equals=["States.ALL"], result_path="$.notification_failure", next_step=summary)],
    )
    tell.next(summary)
    return tell
