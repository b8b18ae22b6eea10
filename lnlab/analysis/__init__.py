"""From tables to numbers: metrics, statistics."""
