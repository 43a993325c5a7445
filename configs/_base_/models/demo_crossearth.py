# CrossEarth at the size of the demo: small MIM decoder, blocks at the same fraction of the crop as in the paper.
_base_ = './demo_rein.py'
model = dict(
    type='CrossEarthSegmentor',
    backbone=dict(gse=dict(last_kernel=3), injector=dict(dim=256, where='blocks')),
    mim_head=dict(type='MIMHead', channels=64, decoder='aspp_shared', size='stride4', loss='l1'),
    mask=dict(mask_ratio=0.7, block=16),
    prompt='learnable',
    style=dict(type='StyleInjection', mask_ratio=0.1, block=16))
