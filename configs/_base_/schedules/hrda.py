# HRDA (arXiv 2204.13132) trains as DAFormer does, on crops of 1024 px; the scale attention is part of the head.
_base_ = './daformer.py'
