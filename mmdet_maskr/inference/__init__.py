"""Inference: images in, pictures and files out, for any model; needs only numpy and OpenCV.

:func:`mmdet_maskr.inference.walk.walk` leads images from a source through a model to sinks.
:class:`mmdet_maskr.apis.MaskRInferencer` and exported models are called with the same sources.
"""
