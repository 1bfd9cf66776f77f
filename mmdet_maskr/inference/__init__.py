"""Images in, pictures and files out, by any model; needs numpy and OpenCV alone.

:func:`mmdet_maskr.inference.walk.walk` leads images from a source through a model to sinks.
:class:`mmdet_maskr.apis.MaskRInferencer` and exported models are called with the same sources.
"""
