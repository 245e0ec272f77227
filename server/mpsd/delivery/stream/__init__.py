"""Delivery over gRPC streams that applications open: `mps.delivery.v1.Delivery/Subscribe`."""
