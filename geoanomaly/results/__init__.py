"""What a run publishes and what is made of it: rasters, outlines, pictures, maps, exports."""
