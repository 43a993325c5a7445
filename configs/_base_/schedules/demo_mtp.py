# As demo_300.py, for a vision transformer that is trained as a whole: MTP's layer-wise decay, a lower learning rate.
_base_ = './demo_300.py'
optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(lr=3e-4),
    paramwise_cfg=dict(layer_decay_rate=0.9))
