"""CloudWatch: metrics, and alarms that evaluate for real."""
