"""The example workflows, described in Python and written as the graphs that users open."""
