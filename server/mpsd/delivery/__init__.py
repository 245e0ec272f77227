"""Delivery adapters: one file or folder each, interchangeable behind `mpsd.ports.DeliveryAdapter`."""
