"""The commands: one module for each group.

Every run imports all of them, so that each command imports what it needs when it is called.
"""
