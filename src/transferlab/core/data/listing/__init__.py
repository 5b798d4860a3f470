"""Lists the images of a data set: scan the folder, read its layout or its label table, and account for every file.

The data pipeline imports this package.
"""
