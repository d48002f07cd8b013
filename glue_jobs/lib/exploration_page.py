"""The data exploration report: what came in, by month, what is missing, what breaks the contract, distributions."""

from __future__ import annotations

from collections.abc import Sequence

from triptych.core.charts import Series, bar_chart, histogram, line_chart, number, share_bar
from triptych.core.contract import Contract
from triptych.core.report import Tile, escape, figure, figures, page, section, table, tiles
from triptych.core.statistics import ColumnStatistics, MonthCounts, Statistics, TableStatistics

BARS_SHOWN = 20
BINS_SHOWN = 60


def exploration_page(contract: Contract, statistics: Statistics) -> str:
    """The whole report as one HTML document."""
    others = [one for name, one in statistics.tables.items() if name != statistics.primary_table]
    body = [
        _headline(contract, statistics),
        _by_month(contract, statistics.months),
        _findings(contract, statistics),
        section(
            f"Distributions: {statistics.primary_table}",
            _distributions(contract, statistics.primary),
            "Numbers within the contract's limits; the outer half per cent on each side is left out of the picture.",
        ),
        section(f"Columns: {statistics.primary_table}", _columns(statistics.primary)),
    ]
    for other in others:
        body.append(
            section(
                f"Table {other.name}: {number(other.rows)} rows",
                _columns(other) + "<br>" + _distributions(contract, other),
                contract.tables[other.name].description,
            )
        )
    body.append(section("Files", _files(statistics)))
    return page(
        f"Data exploration: {contract.use_case}",
        contract.description,
        "".join(body),
        "Counted on the raw files, before cleaning. The same numbers are in statistics.json beside this page.",
    )


def _headline(contract: Contract, statistics: Statistics) -> str:
    primary = statistics.primary
    labelled = sum(month.labelled for month in statistics.months)
    positive = sum(month.positive for month in statistics.months)
    rows = sum(one.rows for one in statistics.tables.values())
    times = [column for column in primary.columns.values() if column.first_time]
    items = [
        Tile(
            f"rows of {primary.name}",
            number(primary.rows),
            f"{number(rows)} in {len(statistics.tables)} tables",
        ),
        Tile("files", number(sum(len(one.files) for one in statistics.tables.values()))),
        Tile(
            f"label: {contract.label.name}",
            f"{positive / labelled:.1%}" if labelled else "–",
            f"of {number(labelled)} rows that have one",
        ),
    ]
    if times:
        first, last = str(times[0].first_time)[:10], str(times[0].last_time)[:10]
        items.append(Tile("from", first, f"to {last}"))
    bad = sum(_violations(column) for one in statistics.tables.values() for column in one.columns.values())
    bad += sum(one.duplicate_rows + one.duplicate_keys for one in statistics.tables.values())
    items.append(
        Tile("values that break a rule", number(bad), "quarantined by cleaning", "warn" if bad else "good")
    )
    return tiles(items)


def _by_month(contract: Contract, months: Sequence[MonthCounts]) -> str:
    if not months:
        return ""
    labels = [month.month for month in months]
    rates = [100 * month.positive / month.labelled if month.labelled else None for month in months]
    missing = [100 * (1 - month.labelled / month.rows) if month.rows else None for month in months]
    return section(
        "By month",
        figures(
            [
                figure(bar_chart("Rows by month", labels, [month.rows for month in months]), "Rows"),
                figure(
                    line_chart(
                        "Label rate by month", labels, [Series(contract.label.name, rates, 2)], unit="%"
                    ),
                    f"Label rate: {contract.label.name}",
                ),
                figure(
                    line_chart(
                        "Rows without a label by month", labels, [Series("no label", missing, 4)], unit="%"
                    ),
                    "Rows without a label",
                ),
            ]
        ),
        f"Label: {contract.label.description}" if contract.label.description else "",
    )


def _findings(contract: Contract, statistics: Statistics) -> str:
    """What breaks the contract, worst first; the validators decide what follows from it."""
    rows: list[tuple[float, list[str]]] = []

    def add(table_name: str, column: str, what: str, count: int, of: int) -> None:
        share = count / of if of else 0.0
        cells = [escape(table_name), f'<span class="mono">{escape(column)}</span>', escape(what)]
        rows.append((share, [*cells, number(count), f"{share:.3%}"]))

    for one in statistics.tables.values():
        for what, count in (("duplicate rows", one.duplicate_rows), ("duplicate keys", one.duplicate_keys)):
            if count:
                add(one.name, ", ".join(contract.tables[one.name].key), what, count, one.rows)
        malformed = sum(file.malformed_rows for file in one.files)
        if malformed:
            add(one.name, "", "wrong number of fields", malformed, one.rows + malformed)
        for column in one.columns.values():
            rule = contract.tables[one.name].columns[column.name]
            for what, count in (
                (f"not of type {column.type}", column.unparseable),
                (f"below {rule.min}", column.below_min),
                (f"above {rule.max}", column.above_max),
                ("not an allowed value", column.not_allowed),
                ("not of the pattern", column.pattern_misses),
                (f"not in {rule.references.table}" if rule.references else "", column.reference_misses),
            ):
                if count:
                    add(one.name, column.name, what, count, column.present)
            if not rule.nullable and column.missing:
                add(one.name, column.name, "missing", column.missing, one.rows)
    if not rows:
        return section("Against the contract", "<p>Nothing breaks a rule.</p>")
    cells = [row for _, row in sorted(rows, key=lambda row: -row[0])]
    return section(
        "Against the contract",
        table(["table", "column", "what", "rows", "share"], cells, numeric=(3, 4)),
        "Values missing from another table are tolerated up to the contract's min_match; the rest goes to quarantine.",
    )


def _columns(one: TableStatistics) -> str:
    rows = []
    for column in one.columns.values():
        colour = 3 if column.completeness > 0.99 else 2
        rows.append(
            [
                f'<span class="mono">{escape(column.name)}</span>',
                escape(column.type),
                share_bar(f"{column.completeness:.2%} present", column.completeness, colour=colour),
                f"{1 - column.completeness:.2%}",
                number(column.distinct) if column.distinct is not None else "",
                *(
                    [number(value) for value in (column.mean, column.std_dev, column.min, column.max)]
                    if column.mean is not None
                    else ["", "", _time(column.first_time), _time(column.last_time)]
                ),
            ]
        )
    header = ["column", "type", "present", "missing", "values", "mean", "std dev", "min", "max"]
    return table(header, rows, numeric=(3, 4, 5, 6, 7, 8))


def _time(value: str | None) -> str:
    return value[:16].replace("T", " ") if value else ""


def _distributions(contract: Contract, one: TableStatistics) -> str:
    drawn = []
    for column in one.columns.values():
        rule = contract.tables[one.name].columns[column.name]
        note = rule.unit or f"{1 - column.completeness:.1%} missing" * (column.completeness < 0.999)
        if column.histogram is not None and len(column.histogram.counts) > 1:
            edges, counts = _visible_bins(column)
            drawn.append(figure(histogram(column.name, edges, counts, unit=rule.unit), column.name, note))
        elif len(column.categories) > 1 and (column.distinct or 0) < max(one.rows * 0.5, 20):
            names = list(column.categories)[:BARS_SHOWN]
            counts = [column.categories[name] for name in names]
            more = (column.distinct or 0) - len(names)
            note = f"{more:,} more values" if more > 0 else note
            drawn.append(
                figure(
                    bar_chart(column.name, [_clip(name) for name in names], counts, colour=5),
                    column.name,
                    note,
                )
            )
    return figures(drawn)


def _visible_bins(column: ColumnStatistics) -> tuple[list[float], list[float]]:
    """Edges and counts for drawing: the tails cut, neighbouring bins joined when there are too many."""
    assert column.histogram is not None
    counts, width = column.histogram.counts, column.histogram.width
    total = sum(counts.values())
    kept, seen = [], 0
    for index in sorted(counts):
        if seen + counts[index] > total * 0.005 and seen < total * 0.995:
            kept.append(index)
        seen += counts[index]
    first, last = kept[0], kept[-1]
    factor = 1
    while (last - first) / factor >= BINS_SHOWN:
        factor *= 2
    first, last = first // factor, last // factor
    joined = [0.0] * (last - first + 1)
    for index in kept:
        joined[index // factor - first] += counts[index]
    edges = [(first + place) * factor * width for place in range(len(joined) + 1)]
    return edges, joined


def _files(statistics: Statistics) -> str:
    rows = [
        [f'<span class="mono">{escape(file.key)}</span>', number(file.rows), number(file.malformed_rows)]
        for one in statistics.tables.values()
        for file in one.files
    ]
    return table(["file", "rows", "with the wrong number of fields"], rows, numeric=(1, 2))


def _violations(column: ColumnStatistics) -> int:
    return (
        column.unparseable + column.below_min + column.above_max + column.not_allowed + column.pattern_misses
    )


def _clip(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"
