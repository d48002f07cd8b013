# %% [markdown]
# # Run the pipeline
#
# Starts the local cloud, runs the three state machines in it, and looks at what came out: states, data, metrics, the
# report, and the endpoint's predictions. Everything but the first two commands is plain boto3, as it would be on AWS.

# %%
import json
import time

import boto3
from IPython.display import display

from triptych import summary, tree
from triptych.core import charts, report
from triptych.executions import ExecutionReader
from triptych.notebook import Page, connect, triptych

USE_CASE = "flights"

# %% [markdown]
# ## Start
#
# `triptych up` starts the local cloud and deploys the templates into it; nothing happens where both are done already.
# `triptych run` uploads the shipped data the first time, and starts the pipeline.

# %%
triptych(f"up {USE_CASE}")
triptych(f"run {USE_CASE} --no-follow")

# %%
place = connect()
outputs = place.outputs(USE_CASE)
for name, value in outputs.items():
    print(f"{name:32} {value}")

# %% [markdown]
# ## Watch
#
# The pipeline is an execution like any other. A line is printed when a state begins and when it ends.

# %%
stepfunctions = boto3.client("stepfunctions")
newest = stepfunctions.list_executions(stateMachineArn=outputs["PipelineStateMachineArn"], maxResults=1)
arn = newest["executions"][0]["executionArn"]
reader = ExecutionReader(stepfunctions, arn)
tree.follow(reader.refresh, time.sleep, quiet=False)
described = stepfunctions.describe_execution(executionArn=arn)
print(described["status"], described.get("cause", ""))

# %%
told = summary.as_json(place, reader.run)
assert told["status"] == "SUCCEEDED", f"{told['failed_state']}: {told['cause']}"

# %% [markdown]
# Where the time went, over all machines:

# %%
tasks = [
    (execution.machine, state.name, (state.exited - state.entered).total_seconds())
    for execution in reader.run.walk()
    for state in execution.states
    if state.exited and state.resource and not state.child_arn
]
longest = max(seconds for *_, seconds in tasks)
rows = [
    [machine, name, f"{seconds:.2f} s", charts.share_bar(f"{seconds:.2f} s", seconds / longest)]
    for machine, name, seconds in sorted(tasks, key=lambda task: -task[2])[:12]
]
times = report.section("The longest tasks", report.table(["machine", "state", "time", ""], rows, numeric=[2]))
display(Page(report.page(told["run"], f"{told['seconds']:.1f} s in all", times), height=720))

# %% [markdown]
# ## What came out
#
# Rows in and out, and the model's checks with their limits from the contract.

# %%
for table, counts in told["cleaning"]["tables"].items():
    print(
        f"{table:10} {counts['rows_in']:>9,} in, {counts['rows_out']:>9,} clean, {counts['quarantined']} quarantined"
    )
for split, count in told["dataset"]["rows"].items():
    print(f"{split:10} {count:>9,} rows")
for check in told["model"]["checks"]:
    print(check)

# %%
metrics = told["model"]["metrics"]
tiles = [
    report.Tile(name, charts.number(metrics[name]))
    for name in ("auc", "pr_auc", "log_loss", "calibration_error")
]
display(
    Page(
        report.page("The model on the test split", told["model"]["training_job"], report.tiles(tiles)),
        height=300,
    )
)

# %% [markdown]
# The whole evaluation report, as the evaluation job wrote it to S3; next to it is the data's exploration.

# %%
display(Page(place.read(told["model"]["report_uri"]), height=900))

# %%
display(Page(place.read(told["dataset"]["exploration_uri"]), height=900))

# %% [markdown]
# ## Ask the endpoint
#
# One row of the test split, in the order of `features.json`; then the same flight with the airport running later and
# later.

# %%
features = json.loads(place.read(told["dataset"]["features_uri"]))["features"]
row = told["deployment"]["test"]["sample"]["features"].split(",")
runtime = boto3.client("sagemaker-runtime")


def predict(lines: list[str]) -> list[float]:
    answer = runtime.invoke_endpoint(
        EndpointName=outputs["EndpointName"], ContentType="text/csv", Body="\n".join(lines)
    )
    return [float(score) for score in answer["Body"].read().split()]


for feature, value in zip(features, row, strict=True):
    print(f"{feature['name']:26} {value:>10}   {feature['description']}")
print(f"\nprobability of arriving late: {predict([','.join(row)])[0]:.6f}")

# %%
delays = list(range(0, 61, 5))
names = [feature["name"] for feature in features]
variants = [
    ",".join(
        str(delay) if name.startswith("airport_delay") else value
        for name, value in zip(names, row, strict=True)
    )
    for delay in delays
]
scores = predict(variants)
plot = charts.line_chart(
    "Probability of arriving late", [str(delay) for delay in delays], [charts.Series("score", scores)]
)
what_if = report.figure(plot, "Probability of arriving late", "by the airport's mean delay of late, minutes")
display(
    Page(
        report.page("The same flight, other delays", outputs["EndpointName"], report.figures([what_if])),
        height=420,
    )
)

# %% [markdown]
# `triptych down` stops the local cloud and keeps everything; the next `up` goes on with the same data, models and
# endpoint.
