"""What the daemon tells of itself: health and metrics over HTTP, health and reflection over gRPC."""
