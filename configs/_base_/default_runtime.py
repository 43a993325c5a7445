# What every run shares: logging, checkpoints, seeds, hooks.
default_scope = 'crossearth'
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
randomness = dict(seed=42)
log_level = 'INFO'
log_processor = dict(type='LogProcessor', by_epoch=False, window_size=50)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
load_from = None
resume = False
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=2000, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'))
custom_hooks = [
    dict(type='ProgressHook'),
    dict(type='BackboneProvenanceHook'),
    dict(type='DomainReportHook'),
    dict(type='TrainingPictureHook', interval=500),
]
