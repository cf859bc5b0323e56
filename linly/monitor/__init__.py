"""What a run did, for a person who would rather look than read: plan, report, live page."""
