# The published 512 px schedule: AdamW 1e-4, polynomial decay over 40k, stopped at 30k.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05, betas=(0.9, 0.999), eps=1e-8),
    paramwise_cfg=dict(
        custom_keys={
            'norm': dict(decay_mult=0.0),
            'query_embed': dict(decay_mult=0.0),
            'level_embed': dict(decay_mult=0.0),
            'learnable_tokens': dict(decay_mult=0.0),
            'reins.scale': dict(decay_mult=0.0),
            'injector.gamma': dict(decay_mult=0.0),
            'prompt': dict(decay_mult=0.0),
        }))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=40000, by_epoch=False)]
train_cfg = dict(type='ResumableTrainLoop', max_iters=30000)
test_cfg = dict(type='TestLoop')
