"""Where segments of the log are kept (docs/archive.md). The format is schemas/segment.py.

    stores.py    what a store must do, and the store that a URL names
    files.py     a directory: file:///var/lib/troupe/archive
    buckets.py   object storage: s3://bucket/prefix, with the extra troupe[archive]
"""
