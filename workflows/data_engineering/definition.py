"""The data engineering state machine: from raw objects in S3 to a registered dataset version."""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Chain, Choice, Pass, State, Succeed

from workflows.failure import failure_path, rejection, rejection_path, resumable
from workflows.steps import (
    INTEGRATIONS,
    DistributedMap,
    JsonObject,
    ParallelWithSelector,
    catch_all,
    definition,
    invoke_function,
    read_request,
    run_glue_job,
)

MACHINE = "Data engineering"


def build() -> JsonObject:
    """The machine's definition, with ``${Substitutions}`` for what the template knows."""
    failure = failure_path(MACHINE)
    rejected = rejection("Data rejected", "DataRejected")
    defaults, request = read_request(
        {
            "use_case": "${UseCase}",
            "trigger": {"kind": "person", "detail": {}},
            "force": False,
        }
    )
    ingest = _ingest(failure)
    validate_splits = invoke_function(
        "Validate splits",
        "ValidateSplitsFunction",
        comment="Enough rows, a label that varies, no overlap in time",
        payload={"run_uri.$": "$.ingest.run_uri"},
        result={"verdict": "verdict", "violations": "violations"},
        result_path="$.splits",
        catch=catch_all(failure),
    )
    Chain([defaults, request, ingest])
    ingest.next(
        _anything_new(
            Chain(
                [
                    _validate_files(failure),
                    _judge_files(failure),
                    _verdict(
                        "Are the files good enough?",
                        "$.files.verdict",
                        rejection_path(MACHINE, "files", "$.files.rejected", rejected),
                        Chain(
                            [
                                _measure_and_prepare(failure),
                                _verdict(
                                    "Are the statistics good enough?",
                                    "$.statistics.verdict",
                                    rejection_path(
                                        MACHINE, "statistics", "$.statistics.violations", rejected
                                    ),
                                    Chain(
                                        [
                                            validate_splits,
                                            _verdict(
                                                "Are the splits good enough?",
                                                "$.splits.verdict",
                                                rejection_path(
                                                    MACHINE, "splits", "$.splits.violations", rejected
                                                ),
                                                _register(failure),
                                            ),
                                        ]
                                    ),
                                ),
                            ]
                        ),
                    ),
                ]
            )
        )
    )
    return resumable(
        definition(
            defaults,
            "Turns the raw objects in S3 into a validated, cleaned, split and registered dataset version",
            timeout_seconds=43_200,
        )
    )


def _ingest(failure: State) -> State:
    return invoke_function(
        "Ingest source objects",
        "IngestSourcesFunction",
        comment="Snapshot the source objects; the dataset version is the hash of what they hold",
        payload={"execution_name.$": "$$.Execution.Name", "force.$": "$.request.force"},
        result={
            "run_uri": "run_uri",
            "dataset_version": "dataset_version",
            "objects_uri": "objects_uri",
            "manifest_uri": "manifest_uri",
            "objects": "objects",
            "size_bytes": "size_bytes",
            "latest": "latest",
            "mark": {"is_new": "is_new"},
        },
        result_path="$.ingest",
        catch=catch_all(failure),
    )


def _anything_new(go_on: Chain) -> Choice:
    report = Pass(
        "Report the registered dataset",
        comment="The dataset version that holds exactly these objects already",
        parameters={"output.$": "States.JsonMerge($.ingest.latest, $.ingest.mark, false)"},
        output_path="$.output",
    )
    report.next(Succeed("Nothing new", comment="The objects are those of the registered dataset version"))
    choice = Choice(
        "Anything new?", comment="The same objects give the same dataset version: no need to compute it again"
    )
    choice.add_choice(ChoiceRule.BooleanEquals("$.ingest.mark.is_new", False), report)
    choice.default_choice(go_on)
    return choice


def _validate_files(failure: State) -> State:
    validate = DistributedMap(
        "Validate files",
        comment="One function call a file: header, encoding, size, truncation, parse",
        item_reader={
            "Resource": INTEGRATIONS + "s3:getObject",
            "ReaderConfig": {"InputType": "JSON"},
            "Parameters": {
                "Bucket": "${DataBucket}",
                "Key.$": "States.Format('runs/{}/objects.json', $$.Execution.Name)",
            },
        },
        item_selector={"object.$": "$$.Map.Item.Value", "run_uri.$": "$.ingest.run_uri"},
        result_writer={
            "Resource": INTEGRATIONS + "s3:putObject",
            "Parameters": {
                "Bucket": "${DataBucket}",
                "Prefix.$": "States.Format('runs/{}/file_checks', $$.Execution.Name)",
            },
        },
        label="ValidateFiles",
        max_concurrency=50,
        # a file whose validator breaks is judged as rejected; many of them mean that something else is wrong
        tolerated_failure_percentage=20,
        result_selector={"result_writer_details.$": "$.ResultWriterDetails"},
        result_path="$.file_checks",
        catch=catch_all(failure),
    )
    validate.attach_iterator(
        invoke_function(
            "Validate file",
            "ValidateFileFunction",
            comment="Check one object; the answer is its verdict",
            payload={"object.$": "$.object", "run_uri.$": "$.run_uri"},
            output_path="$.Payload",
        )
    )
    return validate


def _judge_files(failure: State) -> State:
    return invoke_function(
        "Judge files",
        "JudgeFilesFunction",
        comment="Bad files are left out or stop the run, as the contract says for their table",
        payload={
            "run_uri.$": "$.ingest.run_uri",
            "result_writer_details.$": "$.file_checks.result_writer_details",
        },
        result={
            "verdict": "verdict",
            "accepted_uri": "accepted_uri",
            "accepted": "accepted",
            "rejected": "rejected",
        },
        result_path="$.files",
        catch=catch_all(failure),
    )


def _measure_and_prepare(failure: State) -> State:
    """Two branches that need only the accepted files; what is prepared counts once the statistics pass."""
    parallel = ParallelWithSelector(
        "Measure and prepare",
        comment="The statistics and their verdict beside the cleaning, features and splits: neither waits",
        result_selector={
            name: f"$[0].{name.removesuffix('.$')}"
            for name in ("verdict.$", "violations.$", "violations_total.$", "validation_uri.$")
        },
        result_path="$.statistics",
        catch=catch_all(failure),
    )
    explore = _glue(
        "Explore data",
        "ExploreDataJob",
        "Measure every column and draw the exploration report",
        accepted=True,
    )
    validate_statistics = invoke_function(
        "Validate statistics",
        "ValidateStatisticsFunction",
        comment="Hold the statistics against the contract: completeness, ranges, volume, freshness, drift",
        payload={"run_uri.$": "$.ingest.run_uri"},
        result={
            "verdict": "verdict",
            "violations": "violations",
            "violations_total": "violations_total",
            "validation_uri": "validation_uri",
        },
    )
    clean = _glue(
        "Clean data",
        "CleanDataJob",
        "Type, dedupe and quarantine: rows in are rows out plus quarantined",
        accepted=True,
    )
    features = _glue(
        "Engineer features",
        "EngineerFeaturesJob",
        "Join the tables and compute what is known at the prediction time",
    )
    split = _glue(
        "Split dataset",
        "SplitDatasetJob",
        "Write the train, validation and test splits and the batch input",
    )
    parallel.add_branch(Chain([explore, validate_statistics]))
    parallel.add_branch(Chain([clean, features, split]))
    return parallel


def _glue(name: str, job: str, comment: str, accepted: bool = False) -> State:
    arguments = {"--contract_uri": "${ContractUri}", "--run_uri.$": "$.ingest.run_uri"}
    if accepted:
        arguments["--accepted_uri.$"] = "$.files.accepted_uri"
    return run_glue_job(name, job, comment=comment, arguments=arguments)


def _verdict(name: str, path: str, stop: State, go_on: State | Chain) -> Choice:
    choice = Choice(name, comment="stop ends the run; quarantine and pass go on")
    choice.add_choice(ChoiceRule.StringEquals(path, "stop"), stop)
    choice.default_choice(go_on)
    return choice


def _register(failure: State) -> Chain:
    register = invoke_function(
        "Register dataset version",
        "RegisterDatasetFunction",
        comment="Only now is the dataset version there for others: its files, rows and lineage",
        payload={
            "run_uri.$": "$.ingest.run_uri",
            "dataset_version.$": "$.ingest.dataset_version",
            "manifest_uri.$": "$.ingest.manifest_uri",
            "execution_name.$": "$$.Execution.Name",
        },
        result_selector={"dataset.$": "$.Payload"},
        result_path="$.registered",
        catch=catch_all(failure),
    )
    report = Pass(
        "Report the new dataset",
        comment="The machine's output is the dataset record, marked as new",
        parameters={"output.$": "States.JsonMerge($.registered.dataset, $.ingest.mark, false)"},
        output_path="$.output",
    )
    return Chain(
        [register, report, Succeed("Dataset registered", comment="The dataset version can be trained on")]
    )
