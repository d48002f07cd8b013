"""What is known of a machine's shift before it begins."""

from triptych.core.features import FEATURE_ROWS, Feature, Step

TABLES = ("shifts", "machines")
KEYS = ("day", "machine")
FEATURES = (
    Feature("planned_hours", "Hours"),
    Feature("maker", "Who built the machine", "category"),
)


def steps(contract):
    label = contract.label
    return (
        Step(
            FEATURE_ROWS,
            f"""
            SELECT CAST(s.begins AS DATE) AS key_day, s.machine AS key_machine,
              CASE WHEN s.{label.column} IS NULL THEN NULL WHEN s.{label.column} > {label.above} THEN 1 ELSE 0 END
                AS {label.name},
              s.planned_hours, m.maker
            FROM shifts s LEFT JOIN machines m ON m.machine = s.machine""",
        ),
    )
