# DeepLab's own recipe (arXiv 1606.00915): SGD 2.5e-4, ten times that in the head, polynomial decay of power 0.9.
# 30k iterations, as the other methods.
_base_ = './published_512.py'
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=2.5e-4, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={'_head': dict(lr_mult=10.0)}))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=30000, by_epoch=False)]
