"""Attention inside the windows of a map. One public function; one file per backend."""

from .plain import partition_attention

__all__ = ["partition_attention"]
