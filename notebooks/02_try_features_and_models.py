# %% [markdown]
# # Try features and models
#
# Takes the dataset and the training job of the newest model package, trains variants of that job with other
# hyperparameters and other features, and compares them. Run `01_run_the_pipeline` (or `triptych run flights`) once
# before.
#
# A trial is a SageMaker training job of its own; nothing here touches the champion or the endpoint.

# %%
import json

import boto3
import pyarrow.compute as pc
from IPython.display import display

from triptych import trials
from triptych.core import charts, report
from triptych.notebook import Page, connect
from triptych.trials import Trial

USE_CASE = "flights"
place = connect()
outputs = place.outputs(USE_CASE)
s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")

# %% [markdown]
# ## The job to beat
#
# The newest model package says which training job and which dataset version it came from.

# %%
packages = sagemaker.list_model_packages(
    ModelPackageGroupName=outputs["ModelPackageGroup"],
    SortBy="CreationTime",
    SortOrder="Descending",
    MaxResults=1,
)
package = sagemaker.describe_model_package(
    ModelPackageName=packages["ModelPackageSummaryList"][0]["ModelPackageArn"]
)
properties = package["CustomerMetadataProperties"]
job_name = properties["training_job"]
champion = trials.result(sagemaker, "champion", job_name)
print(f"{job_name}: validation AUC {champion.metrics['validation:auc']:.4f}, {champion.seconds:.0f} s")
print(sagemaker.describe_training_job(TrainingJobName=job_name)["HyperParameters"])

# %% [markdown]
# ## The dataset
#
# `datasets/<use case>/<version>.json` says where a registered version's splits are, and what its features mean.

# %%
record = f"s3://{outputs['DataBucket']}/datasets/{USE_CASE}/{properties['dataset_version']}.json"
dataset = json.loads(place.read(record))
described = json.loads(place.read(dataset["features_uri"]))
label = described["label"]["name"]
splits = {name: trials.read_split(s3, dataset[f"{name}_uri"]) for name in ("train", "validation")}
print(
    f"dataset {dataset['dataset_version']}, {len(described['features'])} features, label: {described['label']}"
)
for name, table in splits.items():
    print(f"{name:10} {table.num_rows:>9,} rows, {pc.mean(table[label]).as_py():.1%} late")

# %%
by_hour = splits["train"].group_by("hour").aggregate([(label, "mean")]).sort_by("hour")
plot = charts.bar_chart(
    "Late arrivals",
    [f"{hour:.0f}" for hour in by_hour["hour"].to_pylist()],
    by_hour[f"{label}_mean"].to_pylist(),
)
late = report.figure(plot, "Share of late arrivals", "by the scheduled hour of departure, train split")
display(Page(report.page("Late in the day", dataset["dataset_version"], report.figures([late])), height=480))

# %% [markdown]
# ## Other features
#
# The training script reads only the columns that `features.json` names, so leaving features out takes another
# `features.json`. A new feature takes splits with its column; here, how much later the airline runs than the airport.

# %%
waiting = [feature["name"] for feature in described["features"] if "waiting" in feature["name"]]
no_waiting = trials.write_inputs(s3, outputs["DataBucket"], "no-waiting", trials.without(described, waiting))

wider = {
    name: table.append_column(
        "carrier_excess_delay",
        pc.subtract(table["carrier_delay_six_hours"], table["airport_delay_six_hours"]),
    )
    for name, table in splits.items()
}
excess = trials.write_inputs(
    s3,
    outputs["DataBucket"],
    "excess",
    trials.added(
        described, "carrier_excess_delay", "The airline's mean delay above the airport's, six hours, minutes"
    ),
    wider,
)
print("left out:", ", ".join(waiting))

# %% [markdown]
# ## Train
#
# All at once; each is a `CreateTrainingJob` like the champion's with these changes.

# %%
found = trials.run(
    sagemaker,
    job_name,
    [
        Trial("shallow", {"max_depth": 3}),
        Trial("deep", {"max_depth": 9}),
        Trial("slower", {"eta": 0.03}),
        Trial("no-waiting", channels=no_waiting),
        Trial("excess", channels=excess),
    ],
)
results = [champion, *found]

# %% [markdown]
# ## Compare
#
# A train AUC far above the validation AUC is overfitting. Judge by the validation split only: the test split is for the
# pipeline's gate.

# %%
for one in sorted(results, key=lambda one: -one.metrics["validation:auc"]):
    difference = one.metrics["validation:auc"] - champion.metrics["validation:auc"]
    print(
        f"{one.name:16} validation AUC {one.metrics['validation:auc']:.4f} ({difference:+.4f})   "
        f"train AUC {one.metrics['train:auc']:.4f}   {one.seconds:.1f} s   {one.job_name}"
    )

# %% [markdown]
# The AUC while training: a curve still rising wants more rounds, one that falls wanted fewer.

# %%
histories = {one.name: trials.history(s3, one.model_uri) for one in results}
rounds = [f"{entry['round'] + 1:.0f}" for entry in max(histories.values(), key=len)]
figures = []
for split in ("validation", "train"):
    series = [
        charts.Series(name, [entry[f"{split}-auc"] for entry in history], colour)
        for colour, (name, history) in enumerate(histories.items(), start=1)
    ]
    plot = charts.line_chart(f"AUC on {split}", rounds, series, zero=False, height=300)
    figures.append(report.figure(plot, f"AUC on {split}", "by round"))
display(Page(report.page("Trials", job_name, report.figures(figures)), height=580))

# %% [markdown]
# ## Keep what is better
#
# Hyperparameters go into `usecases/flights/contract.yaml` (`model: hyperparameters`), features into
# `usecases/flights/features.py`; then `triptych run flights` trains, judges and deploys by the same gates as ever.
