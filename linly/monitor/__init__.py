"""Pages and charts of plans and runs: plan, report, live page, comparison."""
