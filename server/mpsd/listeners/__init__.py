"""Listeners: address, encryption, tokens, roles and bounds."""
