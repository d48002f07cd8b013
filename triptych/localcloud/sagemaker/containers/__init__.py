"""What runs inside a job's process in place of AWS's own containers."""

from pathlib import Path

_HERE = Path(__file__).parent

XGBOOST = _HERE / "xgboost_train.py"
"""the managed XGBoost algorithm"""
BATCH_TRANSFORM = _HERE / "batch_transform.py"
"""batch transform: a model's handlers over files"""
RUN_ARCHIVE = _HERE / "run_archive.py"
"""runs a zip application from the fork server"""
_JOBS = _HERE.parents[3] / "sagemaker_jobs"
SERVE = _JOBS / "serve"
"""the model server's source"""
OWN_TRAIN = _JOBS / "containers" / "train"
"""the own container's ``train`` command"""
