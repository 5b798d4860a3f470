"""The HTML report: its sections, the index of its figures, and the page that joins them.

The report pipeline imports it.
"""
