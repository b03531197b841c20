"""Data sets with their protocols, one file each."""
