"""The admin interface of the daemon: health and metrics over HTTP, and the admin service, health and reflection over gRPC."""
