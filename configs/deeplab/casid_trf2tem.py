# Trf2Tem, CASID: tropical rainforest to temperate monsoon: DeepLabv2.
_base_ = [
    '../_base_/models/deeplabv2_r101.py', '../_base_/datasets/casid.py',
    '../_base_/schedules/deeplab.py', '../_base_/default_runtime.py']
source, targets = ['trf'], ['tem']
train_dataloader = dict(batch_size=2)
