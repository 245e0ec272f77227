"""A demonstration that checks itself, and the real Kafka it runs on; installed with the extra `demo`."""
