# As default_runtime.py; beside a test's numbers stand those of two baselines that know nothing.
_base_ = './default_runtime.py'
custom_hooks = [
    dict(type='ProgressHook'),
    dict(type='BackboneProvenanceHook'),
    dict(type='DomainReportHook', baselines=True),
    dict(type='TrainingPictureHook', interval=100),
]
