# CrossEarth's segmentation flow: Rein with GSE and Injector.
_base_ = './rein_dinov2-l.py'
model = dict(backbone=dict(gse=dict(last_kernel=3), injector=dict(dim=256, where='blocks')))
