"""The contract between streaming applications and the daemon."""
