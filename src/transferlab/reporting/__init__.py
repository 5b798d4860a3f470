"""Figures and the report page, drawn from stored tables: this package never imports torch."""
