"""Runs code that strangers wrote: `run.execute`. What holds it back, and what does not, stands in docs/security.md."""

UNSAFE_EXEC = "KINTSUGI_UNSAFE_EXEC"
"""Set to 1, as --unsafe-exec does, it lets code run where it cannot be isolated. No experiment file can say so."""
