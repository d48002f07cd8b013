"""What is known of a flight two hours before its scheduled departure, as queries that Spark and DuckDB both run.

Times are minutes since 1970, UTC (``sched``, ``dep``, and ``known`` = the prediction time), so that daylight saving
cannot shift a fact. A fact counts from when it was known:

- a departure from the quarter of an hour that begins after it;
- an arrival three hours after departure plus air time (taxiing takes less), and only from the next day on;
- a weather observation from the hour after the one it is filed under.

Levels of temperature, dew point and pressure are left out on purpose: over eight months of training they tell the
date, and the model learns the season by heart.
"""

from __future__ import annotations

from collections.abc import Sequence

from triptych.core.contract import Contract
from triptych.core.features import CATEGORY_ROWS, FEATURE_ROWS, Feature, Step

TABLES = ("flights", "weather", "planes")
KEYS = ("flight_date", "month", "hour", "carrier", "flight", "origin", "dest")

SLOT_MINUTES = 15
# Days change at midnight Eastern Standard Time (UTC-5), all year.
DAY_SHIFT_MINUTES = 300
TAXI_MINUTES = 180
# A flight that has not left six hours after its time no longer counts as waiting: it is cancelled, or was.
WAITING_MINUTES = 360

FEATURES = (
    Feature("hour", "Scheduled local hour of departure"),
    Feature("minute_of_day", "Scheduled local minute of the day"),
    Feature("weekday", "0 Monday to 6 Sunday"),
    Feature("arrival_time", "Scheduled local time of arrival, hhmm"),
    Feature("distance", "Miles"),
    Feature("origin", "Airport of departure", "category"),
    Feature("dest", "Airport of arrival", "category"),
    Feature("carrier", "Airline", "category"),
    Feature("plane_age", "Years since the plane was built"),
    Feature("plane_seats", "Seats"),
    Feature("plane_engine", "Kind of engine", "category"),
    Feature("plane_manufacturer", "Manufacturer", "category"),
    Feature("departures_in_hour", "Flights scheduled to leave the airport in the same hour"),
    Feature("wind_speed", "Last observation, miles per hour"),
    Feature("wind_direction", "Last observation, degrees"),
    Feature("wind_gust", "Last observation, miles per hour; 0 when there was none"),
    Feature("visibility", "Last observation, miles"),
    Feature("visibility_low", "Lowest of seven hours, miles"),
    Feature("rain", "Last observation, inches in the hour"),
    Feature("rain_sum", "Inches in seven hours"),
    Feature("airport_departures", "Departures from the airport, two to three hours before the flight's"),
    Feature("airport_delay", "Their mean delay, minutes"),
    Feature("airport_delay_before", "Mean delay of departures three to four hours before, minutes"),
    Feature("airport_late_before", "Share of those more than 15 minutes late"),
    Feature("airport_delay_six_hours", "Mean delay of six hours' departures, minutes"),
    Feature("airport_waiting", "Flights past their time that have not left the airport"),
    Feature("airport_waiting_minutes", "Their minutes of waiting, in sum"),
    Feature("city_waiting", "The same over the three airports: flights"),
    Feature("city_waiting_minutes", "The same over the three airports: minutes"),
    Feature("carrier_delay_six_hours", "Mean delay of the airline's departures from the airport, six hours"),
    Feature("carrier_waiting", "The airline's flights past their time at the airport"),
    Feature("carrier_waiting_minutes", "Their minutes of waiting, in sum"),
    Feature("carrier_late_share", "Late share of the airline's arrivals, four weeks to yesterday"),
    Feature("route_late_share", "Late share of the airline's arrivals on this route, until yesterday"),
    Feature("route_mean_delay", "Mean arrival delay of the airline on this route, until yesterday, minutes"),
    Feature("origin_late_share", "Late share of arrivals from this airport, three days to yesterday"),
    Feature("dest_late_share", "Late share of arrivals at this destination, three days to yesterday"),
    Feature("plane_delay", "Delay of the plane's last known departure from New York, minutes"),
    Feature("plane_hours_since", "Hours since that departure"),
    Feature("plane_hours_before", "Hours between this flight and the plane's scheduled flight before it"),
)


def steps(contract: Contract) -> Sequence[Step]:
    """The queries over the clean tables ``flights``, ``weather`` and ``planes``; the last gives the feature rows."""
    return (
        Step("legs", _legs(contract)),
        *_traffic(),
        *_history(),
        *_weather(),
        Step("plane_trail", _PLANE_TRAIL),
        Step(CATEGORY_ROWS, _CATEGORY_ROWS),
        Step(FEATURE_ROWS, _feature_rows(contract.label.name)),
    )


def _legs(contract: Contract) -> str:
    ahead = round(contract.prediction_time.hours_before * 60)
    label = contract.label
    return f"""
        SELECT *, sched + dep_delay AS dep, known DIV {SLOT_MINUTES} AS known_slot,
          (known - {DAY_SHIFT_MINUTES}) DIV 1440 AS known_day, known DIV 60 AS known_hour, sched DIV 60 AS sched_hour
        FROM (
          SELECT *, sched - {ahead} AS known FROM (
            SELECT CAST(unix_seconds(time_hour) DIV 60 + minute AS INT) AS sched,
              make_date(CAST(year AS INT), CAST(month AS INT), CAST(day AS INT)) AS flight_date,
              CAST(year AS INT) AS year, CAST(month AS INT) AS month, CAST(hour AS INT) AS hour,
              CAST(hour * 60 + minute AS INT) AS minute_of_day, CAST(sched_arr_time AS INT) AS arrival_time,
              carrier, CAST(flight AS INT) AS flight, tailnum, origin, dest, distance,
              CAST(dep_delay AS INT) AS dep_delay, CAST(air_time AS INT) AS air_time, CAST(arr_delay AS INT) AS arr_delay,
              CASE WHEN {label.column} IS NULL THEN NULL WHEN {label.column} > {label.above} THEN 1 ELSE 0 END AS {label.name}
            FROM flights))"""


def _traffic() -> tuple[Step, ...]:
    """Who has left and who is waiting, by airline and airport, by airport, and over the city, in slots.

    A slot's row holds what is known at the slot's beginning. All flights are first counted by airline, airport and
    slot, so that everything after works on a small table, whatever the number of flights.
    """
    due = f"(sched DIV {SLOT_MINUTES}) + 1"
    gone = f"(greatest(sched, least(coalesce(dep, sched + {WAITING_MINUTES}), sched + {WAITING_MINUTES})) DIV {SLOT_MINUTES}) + 1"
    moves = f"""
        SELECT origin, carrier, slot, sum(departures) AS departures, sum(delay) AS delay, sum(late) AS late,
          sum(waiting) AS waiting, sum(since) AS since
        FROM (
          SELECT origin, carrier, (dep DIV {SLOT_MINUTES}) + 1 AS slot, count(*) AS departures, sum(dep_delay) AS delay,
            sum(CASE WHEN dep_delay > 15 THEN 1 ELSE 0 END) AS late, 0 AS waiting, 0 AS since
          FROM legs WHERE dep IS NOT NULL GROUP BY origin, carrier, (dep DIV {SLOT_MINUTES}) + 1
          UNION ALL
          SELECT origin, carrier, {due}, 0, 0, 0, count(*), sum(CAST(sched AS BIGINT))
          FROM legs GROUP BY origin, carrier, {due}
          UNION ALL
          SELECT origin, carrier, {gone}, 0, 0, 0, -count(*), -sum(CAST(sched AS BIGINT))
          FROM legs GROUP BY origin, carrier, {gone}
          UNION ALL
          SELECT DISTINCT origin, carrier, known_slot, 0, 0, 0, 0, 0 FROM legs)
        GROUP BY origin, carrier, slot"""
    return (
        Step("moves", moves, keep=True),
        Step("carrier_state", _state(("origin", "carrier"), ("delay_six_hours",)), keep=True),
        Step("airport_state", _state(("origin",), tuple(_RECENT)), keep=True),
        Step("city_state", _state((), ()), keep=True),
    )


# Of the departures in the last hours (in slots, first and last before the one in question): SQL over the window.
_RECENT = {
    "departures": (3, 0, "sum(departures) {over}"),
    "delay": (3, 0, "sum(delay) {over} / nullif(sum(departures) {over}, 0)"),
    "delay_before": (7, 4, "sum(delay) {over} / nullif(sum(departures) {over}, 0)"),
    "late_before": (7, 4, "sum(late) {over} / nullif(sum(departures) {over}, 0)"),
    "delay_six_hours": (23, 0, "sum(delay) {over} / nullif(sum(departures) {over}, 0)"),
}


def _state(keys: tuple[str, ...], recent: tuple[str, ...]) -> str:
    columns = "".join(f"{key}, " for key in keys)
    partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
    measures: list[str] = []
    for name in recent:
        first, last, formula = _RECENT[name]
        end = f"{last} PRECEDING" if last else "CURRENT ROW"
        over = f"OVER ({partition}ORDER BY slot RANGE BETWEEN {first} PRECEDING AND {end})"
        measures.append(f"{formula.format(over=over)} AS {name}, ")
    running = f"OVER ({partition}ORDER BY slot ROWS UNBOUNDED PRECEDING)"
    # Counts as doubles: they stay exact, and 128-bit sums would be many times slower.
    sums = ", ".join(
        f"CAST(sum({name}) AS DOUBLE) AS {name}"
        for name in ("departures", "delay", "late", "waiting", "since")
    )
    return f"""
        SELECT {columns}slot, {"".join(measures)}sum(waiting) {running} AS waiting,
          slot * {SLOT_MINUTES} * sum(waiting) {running} - sum(since) {running} AS waiting_minutes
        FROM (SELECT {columns}slot, {sums} FROM moves GROUP BY {columns}slot)"""


def _history() -> tuple[Step, ...]:
    """Arrivals by the day after they were known: a flight on that day may look at it."""
    landed = f"((dep + air_time + {TAXI_MINUTES} - {DAY_SHIFT_MINUTES}) DIV 1440) + 1"
    days = f"""
        SELECT carrier, origin, dest, day, sum(flights) AS flights, sum(late) AS late, sum(delay) AS delay
        FROM (
          SELECT carrier, origin, dest, {landed} AS day, count(*) AS flights,
            sum(CASE WHEN arr_delay > 15 THEN 1 ELSE 0 END) AS late, sum(arr_delay) AS delay
          FROM legs WHERE arr_delay IS NOT NULL AND dep IS NOT NULL AND air_time IS NOT NULL
          GROUP BY carrier, origin, dest, {landed}
          UNION ALL
          SELECT DISTINCT carrier, origin, dest, known_day, 0, 0, 0 FROM legs)
        GROUP BY carrier, origin, dest, day"""
    return (
        Step("days", days, keep=True),
        Step("carrier_history", _past(("carrier",), 27), keep=True),
        Step("route_history", _past(("carrier", "origin", "dest"), None), keep=True),
        Step("origin_history", _past(("origin",), 2), keep=True),
        Step("dest_history", _past(("dest",), 2), keep=True),
    )


def _past(keys: tuple[str, ...], days: int | None) -> str:
    columns = ", ".join(keys)
    first = "UNBOUNDED" if days is None else str(days)
    window = f"OVER (PARTITION BY {columns} ORDER BY day RANGE BETWEEN {first} PRECEDING AND CURRENT ROW)"
    # Ten flights with the usual share of late ones keep a key with little history from extremes.
    return f"""
        SELECT {columns}, day, (sum(late) {window} + CAST(2.3 AS DOUBLE)) / (sum(flights) {window} + 10) AS late_share,
          sum(delay) {window} / (sum(flights) {window} + 10) AS mean_delay
        FROM (SELECT {columns}, day, sum(flights) AS flights, sum(late) AS late, sum(delay) AS delay
              FROM days GROUP BY {columns}, day)"""


def _weather() -> tuple[Step, ...]:
    last = "OVER (PARTITION BY origin ORDER BY at_hour RANGE BETWEEN 6 PRECEDING AND CURRENT ROW)"
    return (
        Step(
            "weather_hours",
            """
            SELECT origin, at_hour, max(wind_speed) AS wind_speed, max(wind_dir) AS wind_dir, max(gust) AS gust,
              max(visib) AS visib, max(precip) AS precip
            FROM (
              SELECT origin, CAST(unix_seconds(time_hour) DIV 3600 + 1 AS INT) AS at_hour, wind_speed, wind_dir,
                coalesce(wind_gust, 0) AS gust, visib, precip FROM weather
              UNION ALL
              SELECT DISTINCT origin, known_hour, NULL, NULL, NULL, NULL, NULL FROM legs)
            GROUP BY origin, at_hour""",
        ),
        Step(
            "sky",
            f"""
            SELECT origin, at_hour, last_value(wind_speed) IGNORE NULLS {last} AS wind_speed,
              last_value(wind_dir) IGNORE NULLS {last} AS wind_direction,
              last_value(gust) IGNORE NULLS {last} AS wind_gust,
              last_value(visib) IGNORE NULLS {last} AS visibility, min(visib) {last} AS visibility_low,
              last_value(precip) IGNORE NULLS {last} AS rain, round(sum(precip) {last}, 3) AS rain_sum
            FROM weather_hours""",
            keep=True,
        ),
        Step(
            "congestion",
            "SELECT origin, sched_hour, count(*) AS departures_in_hour FROM legs GROUP BY origin, sched_hour",
            keep=True,
        ),
    )


# The plane's last two scheduled flights before this one; the newest that had left by the prediction time counts.
_PLANE_TRAIL = """
    SELECT *,
      CASE WHEN dep_1 <= known THEN delay_1 WHEN dep_2 <= known THEN delay_2 END AS plane_delay,
      CASE WHEN dep_1 <= known THEN known - dep_1 WHEN dep_2 <= known THEN known - dep_2 END AS plane_minutes_since
    FROM (
      SELECT *,
        lag(dep, 1) OVER (PARTITION BY tailnum ORDER BY sched, carrier, flight, origin) AS dep_1,
        lag(dep_delay, 1) OVER (PARTITION BY tailnum ORDER BY sched, carrier, flight, origin) AS delay_1,
        lag(dep, 2) OVER (PARTITION BY tailnum ORDER BY sched, carrier, flight, origin) AS dep_2,
        lag(dep_delay, 2) OVER (PARTITION BY tailnum ORDER BY sched, carrier, flight, origin) AS delay_2,
        lag(sched, 1) OVER (PARTITION BY tailnum ORDER BY sched, carrier, flight, origin) AS sched_1
      FROM legs WHERE tailnum IS NOT NULL)
    UNION ALL
    SELECT *, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM legs WHERE tailnum IS NULL"""


_CATEGORY_ROWS = """
    SELECT l.flight_date AS key_flight_date, l.origin, l.dest, l.carrier, p.engine AS plane_engine,
      p.manufacturer AS plane_manufacturer
    FROM legs l LEFT JOIN planes p ON p.tailnum = l.tailnum"""


def _feature_rows(label: str) -> str:
    return f"""
        SELECT l.flight_date AS key_flight_date, l.month AS key_month, l.hour AS key_hour, l.carrier AS key_carrier,
          l.flight AS key_flight, l.origin AS key_origin, l.dest AS key_dest, l.{label} AS {label},
          l.hour, l.minute_of_day, datediff(l.flight_date, DATE '1970-01-05') % 7 AS weekday, l.arrival_time, l.distance,
          l.origin, l.dest, l.carrier,
          l.year - p.year AS plane_age, p.seats AS plane_seats, p.engine AS plane_engine,
          p.manufacturer AS plane_manufacturer,
          c.departures_in_hour, s.wind_speed, s.wind_direction, s.wind_gust, s.visibility, s.visibility_low,
          s.rain, s.rain_sum,
          a.departures AS airport_departures, a.delay AS airport_delay, a.delay_before AS airport_delay_before,
          a.late_before AS airport_late_before, a.delay_six_hours AS airport_delay_six_hours,
          a.waiting AS airport_waiting, a.waiting_minutes AS airport_waiting_minutes,
          n.waiting AS city_waiting, n.waiting_minutes AS city_waiting_minutes,
          k.delay_six_hours AS carrier_delay_six_hours, k.waiting AS carrier_waiting,
          k.waiting_minutes AS carrier_waiting_minutes,
          kh.late_share AS carrier_late_share, rh.late_share AS route_late_share, rh.mean_delay AS route_mean_delay,
          oh.late_share AS origin_late_share, dh.late_share AS dest_late_share,
          l.plane_delay, l.plane_minutes_since / 60 AS plane_hours_since, (l.sched - l.sched_1) / 60 AS plane_hours_before
        FROM plane_trail l
        LEFT JOIN planes p ON p.tailnum = l.tailnum
        LEFT JOIN congestion c ON c.origin = l.origin AND c.sched_hour = l.sched_hour
        LEFT JOIN sky s ON s.origin = l.origin AND s.at_hour = l.known_hour
        LEFT JOIN airport_state a ON a.origin = l.origin AND a.slot = l.known_slot
        LEFT JOIN city_state n ON n.slot = l.known_slot
        LEFT JOIN carrier_state k ON k.origin = l.origin AND k.carrier = l.carrier AND k.slot = l.known_slot
        LEFT JOIN carrier_history kh ON kh.carrier = l.carrier AND kh.day = l.known_day
        LEFT JOIN route_history rh
          ON rh.carrier = l.carrier AND rh.origin = l.origin AND rh.dest = l.dest AND rh.day = l.known_day
        LEFT JOIN origin_history oh ON oh.origin = l.origin AND oh.day = l.known_day
        LEFT JOIN dest_history dh ON dh.dest = l.dest AND dh.day = l.known_day"""
