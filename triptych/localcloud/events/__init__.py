"""EventBridge and its Scheduler: events find their rules' targets, schedules fire."""
