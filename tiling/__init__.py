"""Cut a georeferenced raster into tiles with a halo, map a function over them, put them back.

Knows nothing of models, jobs or HTTP.
"""
