"""The commands: one module for each group.

They are all loaded before the first word is understood, so each loads what it needs when it is called.
"""
