"""What ``tandem rollout`` prints: tables, machine-readable documents, reports; and its exit codes."""
