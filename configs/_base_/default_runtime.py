# What every run shares: logging, checkpoints, seeds, hooks.
default_scope = 'crossearth'
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
randomness = dict(seed=42)
log_level = 'INFO'
# Numbers are logged every `default_hooks.logger.interval` iterations: each loss, time and throughput as the mean of
# the last 50 iterations; `styled` (0 or 1) of this one, and `styled_share` of the last 50.
log_processor = dict(
    type='LogProcessor', by_epoch=False, window_size=50,
    custom_cfg=[dict(data_src='styled', log_name='styled_share', method_name='mean', window_size=50)])
# Where they go. TensorBoard is left out where it is not installed (pip install tensorboard; then
# tensorboard --logdir work_dirs). For Weights & Biases or MLflow, write one of these lines into your config:
#     visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='WandbVisBackend')])   # pip install wandb
#     visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='MLflowVisBackend')])  # pip install mlflow
visualizer = dict(type='TrackingVisualizer', vis_backends=[
    dict(type='LocalVisBackend'),
    dict(type='TensorboardVisBackend'),
])
load_from = None
resume = False
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    speed=dict(type='SpeedHook'),
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
