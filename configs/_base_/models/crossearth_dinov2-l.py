# CrossEarth: Rein with GSE and Injector, masked image modelling (MIM) and Earth-Style Injection.
# The ratios and blocks (px) of the masks belong to a setting; these are the most frequent ones.
_base_ = './rein_dinov2-l.py'
model = dict(
    type='CrossEarthSegmentor',
    backbone=dict(gse=dict(last_kernel=3), injector=dict(dim=256, where='blocks')),
    mim_head=dict(type='MIMHead', decoder='aspp_shared', size=512, loss='mse'),
    mask=dict(mask_ratio=0.7, block=64),
    prompt='learnable',
    style=dict(type='StyleInjection', mask_ratio=0.3, block=16))
