"""Figures, one file each: records in, a matplotlib figure and its table out."""
