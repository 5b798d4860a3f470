"""The Kedro datasets of the catalog, one file each."""
