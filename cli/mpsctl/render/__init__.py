"""Views for people. Pages are made without a terminal; only `screen` knows the terminal."""
