"""How good heatmaps are against labels: figures, intervals, curves, tables."""
