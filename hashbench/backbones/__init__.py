"""Backbones: the encoders that come with hashbench, one family a file."""
