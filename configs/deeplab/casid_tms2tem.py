# Tms2Tem, CASID: tropical monsoon to temperate monsoon: DeepLabv2.
_base_ = [
    '../_base_/models/deeplabv2_r101.py', '../_base_/datasets/casid.py',
    '../_base_/schedules/deeplab.py', '../_base_/default_runtime.py']
source, targets = ['tms'], ['tem']
train_dataloader = dict(batch_size=2)
