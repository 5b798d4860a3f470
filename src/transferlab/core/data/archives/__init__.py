"""Archives, unpacked without trusting them.

The sources of a data set and the data pipeline import this package.
"""
