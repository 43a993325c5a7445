# A few minutes on two CPU cores.
_base_ = './published_512.py'
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=30, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=30, end=400, by_epoch=False)]
train_cfg = dict(max_iters=400)
