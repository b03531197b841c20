"""The bench for cross-modal hashing: train, measure, compare and ablate, in one honest protocol."""

__version__ = "0.1.0"
