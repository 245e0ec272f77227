"""Kafka: the only importer of aiokafka; its errors are mapped here."""
