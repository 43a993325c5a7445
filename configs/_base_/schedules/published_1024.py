# The published 1024 px schedule: AdamW 6e-5, linear warm-up over 10k, polynomial decay to 40k, stopped at 30k.
_base_ = './published_512.py'
optim_wrapper = dict(optimizer=dict(lr=6e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=10000, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=10000, end=40000, by_epoch=False)]
