"""Archives, unpacked without trusting them.

The sources of a data set import this package.
"""
