"""The core of the flights pipeline as one plain script: pandas, numpy and XGBoost, in one process.

Load the raw CSVs, validate, quarantine, join, compute the pipeline's features, split, train, evaluate, predict.
It gives the values of `usecases/flights/features.py` and writes nothing but the quarantine, the model, the metrics
and the predictions: no reports, no lineage, no registry, no endpoint.

    python plain_pandas.py RAW_FOLDER OUTPUT_FOLDER [--save-features]
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost

# column: (lowest, highest, may be missing); strings have no limits
FLIGHTS = {
    "year": (2000, 2100, False),
    "month": (1, 12, False),
    "day": (1, 31, False),
    "dep_time": (1, 2400, True),
    "sched_dep_time": (0, 2359, False),
    "dep_delay": (-120, 3000, True),
    "arr_time": (1, 2400, True),
    "sched_arr_time": (0, 2359, False),
    "arr_delay": (-200, 3000, True),
    "carrier": (None, None, False),
    "flight": (1, 9999, False),
    "tailnum": (None, None, True),
    "origin": (None, None, False),
    "dest": (None, None, False),
    "air_time": (1, 1200, True),
    "distance": (1, 10000, False),
    "hour": (0, 23, False),
    "minute": (0, 59, False),
    "time_hour": (None, None, False),
}
WEATHER = {
    "origin": (None, None, False),
    "year": (2000, 2100, False),
    "month": (1, 12, False),
    "day": (1, 31, False),
    "hour": (0, 23, False),
    "temp": (-60, 130, True),
    "dewp": (-80, 110, True),
    "humid": (0, 100, True),
    "wind_dir": (0, 360, True),
    "wind_speed": (0, 200, True),
    "wind_gust": (0, 250, True),
    "precip": (0, 20, True),
    "pressure": (850, 1100, True),
    "visib": (0, 100, True),
    "time_hour": (None, None, False),
}
PLANES = {
    "tailnum": (None, None, False),
    "year": (1900, 2100, True),
    "engines": (1, 8, True),
    "seats": (1, 900, True),
    "speed": (1, 2000, True),
}
COMPLETE = {
    "dep_time": 0.9,
    "dep_delay": 0.9,
    "arr_time": 0.9,
    "arr_delay": 0.9,
    "tailnum": 0.97,
    "air_time": 0.9,
}
AIRPORTS = ["EWR", "JFK", "LGA"]
STRINGS = {"carrier", "tailnum", "origin", "dest", "type", "manufacturer", "model", "engine"}

SLOT = 15
AHEAD = 120
DAY_SHIFT = 300
WAITING = 360
TAXI = 180

KEYS = ["flight_date", "month", "hour", "carrier", "flight", "origin", "dest"]
CATEGORIES = ["origin", "dest", "carrier", "plane_engine", "plane_manufacturer"]
FEATURES = [
    "hour",
    "minute_of_day",
    "weekday",
    "arrival_time",
    "distance",
    "origin",
    "dest",
    "carrier",
    "plane_age",
    "plane_seats",
    "plane_engine",
    "plane_manufacturer",
    "departures_in_hour",
    "wind_speed",
    "wind_direction",
    "wind_gust",
    "visibility",
    "visibility_low",
    "rain",
    "rain_sum",
    "airport_departures",
    "airport_delay",
    "airport_delay_before",
    "airport_late_before",
    "airport_delay_six_hours",
    "airport_waiting",
    "airport_waiting_minutes",
    "city_waiting",
    "city_waiting_minutes",
    "carrier_delay_six_hours",
    "carrier_waiting",
    "carrier_waiting_minutes",
    "carrier_late_share",
    "route_late_share",
    "route_mean_delay",
    "origin_late_share",
    "dest_late_share",
    "plane_delay",
    "plane_hours_since",
    "plane_hours_before",
]
SPLITS = {
    "train": ("2013-01-01", "2013-09-01"),
    "validation": ("2013-09-01", "2013-11-01"),
    "test": ("2013-11-01", "2014-01-01"),
}
PARAMETERS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 6,
    "eta": 0.06,
    "min_child_weight": 50,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "reg_lambda": 5,
    "max_bin": 256,
    "seed": 7,
    "eval_metric": "auc",
}
ROUNDS = 200

Tables = dict[str, pd.DataFrame]
Parts = dict[str, tuple[pd.DataFrame, np.ndarray, np.ndarray]]


def load(raw: Path) -> Tables:
    """Every table of the raw folder; flights are one file a month."""

    def read(path: Path) -> pd.DataFrame:
        return pd.read_csv(path, engine="pyarrow", na_values=["NA", ""], keep_default_na=False)

    tables = {
        name: read(raw / name / f"{name}.csv") for name in ("weather", "planes", "airports", "airlines")
    }
    months = [read(path) for path in sorted((raw / "flights").glob("*.csv"))]
    return {"flights": pd.concat(months, ignore_index=True), **tables}


def validate(tables: Tables) -> tuple[Tables, pd.DataFrame]:
    """The good rows of every table, and the bad ones with their reasons; stops where the data as a whole is bad."""
    clean = dict(tables)
    quarantine = []
    for name, rules, key in (
        ("flights", FLIGHTS, ["time_hour", "carrier", "flight", "origin"]),
        ("weather", WEATHER, ["origin", "time_hour"]),
        ("planes", PLANES, ["tailnum"]),
    ):
        table = tables[name].copy(deep=False)
        tests = []
        for column, (low, high, optional) in rules.items():
            if column == "time_hour":
                given = table[column].notna()
                table[column] = pd.to_datetime(table[column], errors="coerce", utc=True)
                tests.append((f"{column}: not a timestamp", given & table[column].isna()))
            elif low is not None and not pd.api.types.is_numeric_dtype(table[column]):
                given = table[column].notna()
                table[column] = pd.to_numeric(table[column], errors="coerce")
                tests.append((f"{column}: not a number", given & table[column].isna()))
            if not optional:
                tests.append((f"{column}: missing", table[column].isna()))
            if low is not None:
                tests.append((f"{column}: below {low}", table[column] < low))
                tests.append((f"{column}: above {high}", table[column] > high))
        if "origin" in rules:
            tests.append(("origin: not an allowed value", ~table["origin"].isin(AIRPORTS)))
        tests.append(("duplicate key", table.duplicated(key)))
        bad = np.zeros(len(table), dtype=bool)
        for reason, failed in tests:
            failed = failed.to_numpy(dtype=bool)
            if failed.any():
                bad |= failed
                rows = table.index[failed]
                quarantine.append(pd.DataFrame({"table": name, "row": rows, "reason": reason}))
        clean[name] = table[~bad] if bad.any() else table
        if bad.mean() > 0.02:
            raise ValueError(f"{name}: {bad.mean():.1%} of the rows are bad")
    flights = clean["flights"]
    for column, least in COMPLETE.items():
        if flights[column].notna().mean() < least:
            raise ValueError(f"flights.{column}: less than {least:.0%} present")
    for column, table, other, least in (
        ("carrier", "airlines", "carrier", 1.0),
        ("tailnum", "planes", "tailnum", 0.8),
        ("origin", "airports", "faa", 1.0),
        ("dest", "airports", "faa", 0.95),
    ):
        values = flights[column].dropna()
        if values.isin(clean[table][other]).mean() < least:
            raise ValueError(f"flights.{column}: less than {least:.0%} are in {table}")
    found = pd.concat(quarantine) if quarantine else pd.DataFrame(columns=["table", "row", "reason"])
    return clean, found


def features(tables: Tables) -> pd.DataFrame:
    """Keys, the label ``late`` and the features, a row a flight."""
    flights, planes = tables["flights"], tables["planes"]
    sched = _minutes(flights["time_hour"]) + flights["minute"].to_numpy(dtype=np.int64)
    known = sched - AHEAD
    origin, origins = pd.factorize(flights["origin"])
    carrier, carriers = pd.factorize(flights["carrier"])
    dest, dests = pd.factorize(flights["dest"])
    delay = flights["dep_delay"].to_numpy(dtype=np.float64)
    late_by = flights["arr_delay"].to_numpy(dtype=np.float64)
    dep = sched + delay

    date = pd.to_datetime(flights[["year", "month", "day"]])
    out = pd.DataFrame({"flight_date": date, "month": flights["month"], "hour": flights["hour"]})
    out[["carrier", "flight", "origin", "dest"]] = flights[["carrier", "flight", "origin", "dest"]]
    out["late"] = np.where(np.isnan(late_by), np.nan, late_by > 15)
    out["minute_of_day"] = flights["hour"] * 60 + flights["minute"]
    out["weekday"] = date.dt.day_of_week
    out["arrival_time"] = flights["sched_arr_time"]
    out["distance"] = flights["distance"]

    known_planes = planes.set_index("tailnum")[["year", "seats", "engine", "manufacturer"]]
    matched = known_planes.reindex(flights["tailnum"])
    out["plane_age"] = flights["year"].to_numpy() - matched["year"].to_numpy()
    out["plane_seats"] = matched["seats"].to_numpy()
    out["plane_engine"] = matched["engine"].array
    out["plane_manufacturer"] = matched["manufacturer"].array
    _, hour = np.unique(origin * 10**8 + sched // 60, return_inverse=True)
    out["departures_in_hour"] = np.bincount(hour)[hour]

    _add_weather(out, tables["weather"], list(origins), origin, known)
    _add_traffic(out, origin, carrier, len(origins), len(carriers), sched, known, dep, delay)
    route = pd.factorize((carrier * len(origins) + origin) * len(dests) + dest)[0]
    by = {"carrier": (carrier, 28), "route": (route, None), "origin": (origin, 3), "dest": (dest, 3)}
    _add_history(out, by, known, dep, flights["air_time"].to_numpy(dtype=np.float64), late_by)
    _add_plane_trail(out, flights, sched, known, dep, delay)

    start, before = SPLITS["train"]
    train = (date >= start) & (date < before)
    for name in CATEGORIES:
        values = pd.Index(sorted(out.loc[train, name].dropna().unique()))
        out[f"{name}_code"] = values.get_indexer(out[name])
    return out


def _minutes(times: pd.Series) -> np.ndarray:
    return times.dt.as_unit("s").astype(np.int64).to_numpy() // 60


def _add_weather(
    out: pd.DataFrame, weather: pd.DataFrame, origins: list[str], origin: np.ndarray, known: np.ndarray
) -> None:
    """The last observation of seven hours, at the prediction time."""
    hours = known // 60
    seen = weather.assign(
        at_hour=_minutes(weather["time_hour"]) // 60 + 1, wind_gust=weather["wind_gust"].fillna(0)
    )
    columns = ["wind_speed", "wind_dir", "wind_gust", "visib", "precip"]
    hourly = seen.groupby(["at_hour", "origin"])[columns].max().unstack("origin")
    first = min(hours.min(), hourly.index.min())
    hourly = hourly.reindex(np.arange(first, max(hours.max(), hourly.index.max()) + 1))
    last = hourly.ffill(limit=6)
    seven = hourly[["visib", "precip"]].rolling(7, min_periods=1)
    lowest, total = seven.min(), seven.sum().round(3)
    for feature, frame, column in (
        ("wind_speed", last, "wind_speed"),
        ("wind_direction", last, "wind_dir"),
        ("wind_gust", last, "wind_gust"),
        ("visibility", last, "visib"),
        ("visibility_low", lowest, "visib"),
        ("rain", last, "precip"),
        ("rain_sum", total, "precip"),
    ):
        out[feature] = frame[column][origins].to_numpy()[hours - first, origin]


def _add_traffic(
    out: pd.DataFrame,
    origin: np.ndarray,
    carrier: np.ndarray,
    origins: int,
    carriers: int,
    sched: np.ndarray,
    known: np.ndarray,
    dep: np.ndarray,
    delay: np.ndarray,
) -> None:
    """Who has left and who is waiting, in grids of (quarter of an hour, origin, carrier)."""
    now = known // SLOT
    due = sched // SLOT + 1
    left = ~np.isnan(dep)
    at = np.where(left, dep, 0).astype(np.int64) // SLOT + 1
    given_up = sched + WAITING
    gone = np.maximum(sched, np.fmin(dep, given_up)).astype(np.int64) // SLOT + 1
    first = min(now.min(), due.min(), at[left].min()) - 24
    slots = max(now.max(), due.max(), at.max(), gone.max()) - first + 1
    group = origin * carriers + carrier
    groups = origins * carriers

    def grid(slot: np.ndarray, rows: np.ndarray | slice, weights: np.ndarray | None = None) -> np.ndarray:
        cells = (slot[rows] - first) * groups + group[rows]
        counts = np.bincount(cells, None if weights is None else weights[rows], minlength=slots * groups)
        return counts.reshape(slots, origins, carriers)

    every = slice(None)
    departures, delays = grid(at, left), grid(at, left, delay)
    late = grid(at, left & (delay > 15))
    waiting = np.cumsum(grid(due, every) - grid(gone, every), axis=0)
    since = np.cumsum(
        grid(due, every, sched.astype(np.float64)) - grid(gone, every, sched.astype(np.float64)), axis=0
    )
    minutes = (np.arange(slots) + first)[:, None, None] * SLOT * waiting - since
    place = now - first

    def recent(counts: np.ndarray, slots_back: int, until: int = 0) -> np.ndarray:
        """Sums of the slots from ``slots_back`` to ``until`` before each."""
        total = np.cumsum(counts, axis=0)
        result = np.zeros_like(total, dtype=np.float64)
        result[slots_back + 1 :] = (
            total[slots_back + 1 - until : len(total) - until] - total[: -slots_back - 1]
        )
        return result

    with np.errstate(invalid="ignore", divide="ignore"):
        by_airport = [part.sum(axis=2) for part in (departures, delays, late)]
        out["airport_departures"] = recent(by_airport[0], 3)[place, origin]
        out["airport_delay"] = (recent(by_airport[1], 3) / recent(by_airport[0], 3))[place, origin]
        before = recent(by_airport[0], 7, 4)
        out["airport_delay_before"] = (recent(by_airport[1], 7, 4) / before)[place, origin]
        out["airport_late_before"] = (recent(by_airport[2], 7, 4) / before)[place, origin]
        six_hours = recent(by_airport[1], 23) / recent(by_airport[0], 23)
        out["airport_delay_six_hours"] = six_hours[place, origin]
        out["airport_waiting"] = waiting.sum(axis=2)[place, origin]
        out["airport_waiting_minutes"] = minutes.sum(axis=2)[place, origin]
        out["city_waiting"] = waiting.sum(axis=(1, 2))[place]
        out["city_waiting_minutes"] = minutes.sum(axis=(1, 2))[place]
        six_hours = recent(delays, 23) / recent(departures, 23)
        out["carrier_delay_six_hours"] = six_hours[place, origin, carrier]
        out["carrier_waiting"] = waiting[place, origin, carrier]
        out["carrier_waiting_minutes"] = minutes[place, origin, carrier]


def _add_history(
    out: pd.DataFrame,
    by: dict[str, tuple[np.ndarray, int | None]],
    known: np.ndarray,
    dep: np.ndarray,
    air_time: np.ndarray,
    late_by: np.ndarray,
) -> None:
    """Late shares of earlier arrivals, in grids of (day, key)."""
    day = (known - DAY_SHIFT) // 1440
    landed = (dep + air_time + TAXI - DAY_SHIFT) // 1440 + 1
    arrived = ~(np.isnan(landed) | np.isnan(late_by))
    on = landed[arrived].astype(np.int64)
    first = min(day.min(), on.min())
    days = max(day.max(), on.max()) - first + 1
    late, minutes = late_by[arrived] > 15, late_by[arrived]
    for name, (codes, window) in by.items():
        keys = codes.max() + 1
        cells = (on - first) * keys + codes[arrived]

        def past(
            weights: np.ndarray | None,
            cells: np.ndarray = cells,
            keys: int = keys,
            window: int | None = window,
        ) -> np.ndarray:
            counts = np.bincount(cells, weights, minlength=days * keys).reshape(days, keys)
            total = np.cumsum(counts, axis=0, dtype=np.float64)
            if window is not None:
                total[window:] = total[window:] - total[:-window]
            return total

        number = past(None) + 10
        out[f"{name}_late_share"] = ((past(late) + 2.3) / number)[day - first, codes]
        if name == "route":
            out["route_mean_delay"] = (past(minutes) / number)[day - first, codes]


def _add_plane_trail(
    out: pd.DataFrame,
    flights: pd.DataFrame,
    sched: np.ndarray,
    known: np.ndarray,
    dep: np.ndarray,
    delay: np.ndarray,
) -> None:
    """The plane's last two scheduled flights before this one; the newest that had left counts."""
    trail = pd.DataFrame({"sched": sched, "known": known, "dep": dep, "delay": delay}, index=flights.index)
    trail[["tailnum", "carrier", "flight", "origin"]] = flights[["tailnum", "carrier", "flight", "origin"]]
    trail = trail[trail["tailnum"].notna()].sort_values(["tailnum", "sched", "carrier", "flight", "origin"])
    earlier = trail.groupby("tailnum", sort=False)[["dep", "delay", "sched"]]
    one, two = earlier.shift(1), earlier.shift(2)
    use_one, use_two = one["dep"] <= trail["known"], two["dep"] <= trail["known"]
    left = one["dep"].where(use_one, two["dep"].where(use_two))
    out["plane_delay"] = one["delay"].where(use_one, two["delay"].where(use_two))
    out["plane_hours_since"] = (trail["known"] - left) / 60
    out["plane_hours_before"] = (trail["sched"] - one["sched"]) / 60


def split(rows: pd.DataFrame) -> Parts:
    """By name: the rows with their keys, the feature matrix (rows, features) and the labels; in time order."""
    rows = rows[rows["late"].notna()].sort_values(KEYS)
    parts = {}
    for name, (start, before) in SPLITS.items():
        part = rows[(rows["flight_date"] >= start) & (rows["flight_date"] < before)]
        matrix = np.empty((len(part), len(FEATURES)), dtype=np.float32)
        for index, feature in enumerate(FEATURES):
            if feature in CATEGORIES:
                codes = part[f"{feature}_code"].to_numpy()
                matrix[:, index] = np.where(codes < 0, np.nan, codes)
            else:
                matrix[:, index] = part[feature].to_numpy(dtype=np.float32)
        labels = part["late"].to_numpy(dtype=np.float32)
        if len(np.unique(labels)) < 2:
            raise ValueError(f"split {name}: all labels are the same")
        parts[name] = (part, matrix, labels)
    return parts


def train(matrix: np.ndarray, labels: np.ndarray) -> xgboost.Booster:
    """200 rounds, as the pipeline's hyperparameters say."""
    data = xgboost.QuantileDMatrix(matrix, labels, feature_names=FEATURES, max_bin=PARAMETERS["max_bin"])
    return xgboost.train(PARAMETERS, data, num_boost_round=ROUNDS)


def predict(model: xgboost.Booster, matrix: np.ndarray) -> np.ndarray:
    """The probability of being late, a row."""
    return model.inplace_predict(matrix, validate_features=False)


def judge(model: xgboost.Booster, parts: Parts) -> tuple[np.ndarray, dict[str, dict]]:
    """The test split's scores, and what they and the validation split's are worth."""
    part, matrix, labels = parts["test"]
    _, validation, validation_labels = parts["validation"]
    scores = predict(model, matrix)
    return scores, {
        "test": evaluate(labels, scores),
        "slices": evaluate_slices(part, labels, scores),
        "validation": evaluate(validation_labels, predict(model, validation)),
    }


def evaluate(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """AUC, calibration error and what a threshold of a half gives."""
    positive = labels > 0.5
    predicted = scores >= 0.5
    hits = int((predicted & positive).sum())
    bins = np.minimum((scores * 10).astype(int), 9)
    count = np.maximum(np.bincount(bins, minlength=10), 1)
    gaps = np.abs(np.bincount(bins, scores, 10) - np.bincount(bins, labels, 10)) / count
    clipped = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    return {
        "auc": auc(labels, scores),
        "calibration_error": float((gaps * np.bincount(bins, minlength=10)).sum() / len(labels)),
        "log_loss": float(-np.where(positive, np.log(clipped), np.log1p(-clipped)).mean()),
        "accuracy": float((predicted == positive).mean()),
        "precision": hits / max(int(predicted.sum()), 1),
        "recall": hits / max(int(positive.sum()), 1),
    }


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The area under the ROC curve, by ranks."""
    ranks = pd.Series(scores).rank().to_numpy()
    positives = int(labels.sum())
    negatives = len(labels) - positives
    return float((ranks[labels > 0.5].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def evaluate_slices(
    part: pd.DataFrame, labels: np.ndarray, scores: np.ndarray
) -> dict[str, dict[str, float]]:
    """AUC by origin, carrier and month, where there are 1,000 rows."""
    return {
        column: {
            str(value): auc(labels[rows], scores[rows])
            for value, rows in part.groupby(column, observed=True).indices.items()
            if len(rows) >= 1000
        }
        for column in ("origin", "carrier", "month")
    }


def save(
    output: Path,
    quarantine: pd.DataFrame,
    model: xgboost.Booster,
    metrics: dict[str, dict],
    part: pd.DataFrame,
    scores: np.ndarray,
) -> None:
    """Everything that the script leaves."""
    output.mkdir(parents=True, exist_ok=True)
    quarantine.to_csv(output / "quarantine.csv", index=False)
    model.save_model(output / "model.ubj")
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1))
    part[KEYS].assign(score=scores).to_csv(output / "predictions.csv", index=False)


def main() -> None:
    """Do it all, and say how long each step took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--save-features", action="store_true", help="also write features.parquet")
    options = parser.parse_args()
    marks = [("start", time.perf_counter())]

    def mark(name: str) -> None:
        marks.append((name, time.perf_counter()))

    tables = load(options.raw)
    mark("load")
    tables, quarantine = validate(tables)
    mark("validate")
    rows = features(tables)
    mark("features")
    parts = split(rows)
    mark("split")
    model = train(*parts["train"][1:])
    mark("train")
    scores, metrics = judge(model, parts)
    mark("evaluate")
    save(options.output, quarantine, model, metrics, parts["test"][0], scores)
    mark("save")
    if options.save_features:
        every = pd.concat([part[KEYS] for part, _, _ in parts.values()], ignore_index=True)
        values = np.concatenate([matrix for _, matrix, _ in parts.values()])
        named = pd.DataFrame(values, columns=[f"feature_{name}" for name in FEATURES])
        pd.concat([every, named], axis=1).to_parquet(options.output / "features.parquet")
    seconds = {name: round(end - start, 3) for (_, start), (name, end) in pairwise(marks)}
    print(json.dumps({"seconds": seconds, "metrics": metrics["test"]}))


if __name__ == "__main__":
    main()
