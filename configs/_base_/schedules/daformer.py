# DAFormer's recipe (arXiv 2111.14887): AdamW 6e-5, ten times that in the head, warm-up over 1500, then linear decay.
# 30k iterations, as the other methods; the original trains for 40k, with two images in a batch.
_base_ = './published_512.py'
optim_wrapper = dict(
    optimizer=dict(lr=6e-5, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys=dict(_delete_=True, norm=dict(decay_mult=0.0), _head=dict(lr_mult=10.0))))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0.0, begin=1500, end=30000, by_epoch=False)]
