"""Who may ask for what: API keys, sign-ins of the pages, and tickets for the tiles of one job.

A key is 256 random bits behind a short public id. The database has only its SHA-256,
so that whoever reads the database or a backup of it cannot ask for anything but, with
tickets that its digests could sign, for the tiles of results.
"""
