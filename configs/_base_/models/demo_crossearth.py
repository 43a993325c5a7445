# CrossEarth's segmentation flow at the size of the demo.
_base_ = './demo_rein.py'
model = dict(backbone=dict(gse=dict(last_kernel=3), injector=dict(dim=256, where='blocks')))
