"""From images to pictures and files of what was found in them, whatever found it. Needs numpy and Pillow alone.

A result is a dict of numpy arrays: of a detector ``boxes`` (N, 4) as x1, y1, x2, y2 in pixels, ``scores`` (N,),
``labels`` (N,) and perhaps ``masks`` (N, H, W) bool; of a segmentor ``labels`` (H, W); of a classifier ``scores`` (K,).
"""
