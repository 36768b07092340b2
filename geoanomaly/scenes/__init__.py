"""Where the pixels of a job come from: scenes on one grid, areas, sensors, masks, two dates."""
