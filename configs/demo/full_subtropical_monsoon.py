_base_ = [
    '../_base_/models/demo_full.py', '../_base_/datasets/bluemarble.py',
    '../_base_/schedules/demo_300.py', '../_base_/default_runtime.py']
source = ['subtropical_monsoon']
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}))
