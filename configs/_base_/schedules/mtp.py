# MTP's recipe: AdamW 6e-5, layer-wise decay 0.9, linear warm-up over 1.5k, cosine to zero at 80k.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=6e-5, weight_decay=0.05, betas=(0.9, 0.999), eps=1e-8),
    paramwise_cfg=dict(
        layer_decay_rate=0.9,
        custom_keys={'injector.gamma': dict(decay_mult=0.0), 'prompt': dict(decay_mult=0.0)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0.0, T_max=78500, begin=1500, end=80000, by_epoch=False)]
train_cfg = dict(type='ResumableTrainLoop', max_iters=80000)
test_cfg = dict(type='TestLoop')
