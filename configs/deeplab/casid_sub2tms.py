# Sub2Tms, CASID: subtropical monsoon to tropical monsoon: DeepLabv2.
_base_ = [
    '../_base_/models/deeplabv2_r101.py', '../_base_/datasets/casid.py',
    '../_base_/schedules/deeplab.py', '../_base_/default_runtime.py']
source, targets = ['sub'], ['tms']
train_dataloader = dict(batch_size=2)
