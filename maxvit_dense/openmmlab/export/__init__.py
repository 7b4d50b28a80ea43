"""Whole models of mmdet and mmseg as one program: image in, boxes or labels out."""
