"""Hashing methods, one readable file each, held against its paper. They never import each other."""
