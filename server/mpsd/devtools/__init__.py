"""For those who write the applications: what checks and feeds one without a Kafka at hand."""
