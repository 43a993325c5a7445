# CrossEarth on MTP at the size of the demo, masks and decoder as in demo_crossearth.py.
_base_ = './demo_mtp.py'
model = dict(
    type='CrossEarthSegmentor',
    backbone=dict(gse=dict(last_kernel=3), injector=dict(dim=256, where='blocks')),
    mim_head=dict(type='MIMHead', channels=64, decoder='linear', size='stride4', loss='l1'),
    mask=dict(mask_ratio=0.7, block=16),
    prompt='learnable',
    style=dict(type='StyleInjection', mask_ratio=0.1, block=16))
