"""Lists the images of a data set: scan the folder, read its layout, and account for every file.

A layout is class folders, a label table or an image folder as on Hugging Face; `layout.list_images` reads any of them.
The data pipeline, the experiment's schema and the scaffold import this package. It imports `split` for names and groups
alone.
"""
