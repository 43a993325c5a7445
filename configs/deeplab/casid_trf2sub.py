# Trf2Sub, CASID: tropical rainforest to subtropical monsoon: DeepLabv2.
_base_ = [
    '../_base_/models/deeplabv2_r101.py', '../_base_/datasets/casid.py',
    '../_base_/schedules/deeplab.py', '../_base_/default_runtime.py']
source, targets = ['trf'], ['sub']
train_dataloader = dict(batch_size=2)
