# CrossEarth on MTP (Table 10): the backbone and heads of MTP, trained by MTP's recipe, with GSE, Injector, masked image
# modelling by a 3x3 convolution, and Earth-Style Injection. For a backbone without GSE, set gse and injector to None.
_base_ = './mtp_rvsa-l.py'
model = dict(
    type='CrossEarthSegmentor',
    backbone=dict(gse=dict(last_kernel=3), injector=dict(dim=256, where='blocks')),
    mim_head=dict(type='MIMHead', decoder='linear', size=512, loss='mse'),
    mask=dict(mask_ratio=0.7, block=64),
    prompt='learnable',
    style=dict(type='StyleInjection', mask_ratio=0.3, block=16))
