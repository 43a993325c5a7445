# As demo.py, in 300 iterations.
_base_ = './demo.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=30, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=30, end=300, by_epoch=False)]
train_cfg = dict(max_iters=300)
