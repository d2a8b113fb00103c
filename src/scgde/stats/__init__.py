"""Statistics of noisy embeddings: arrays in, numbers out."""

__all__: list[str] = []
