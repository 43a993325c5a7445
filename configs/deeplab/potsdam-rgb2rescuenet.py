# P(r)2Res, Disaster: Potsdam (RGB) to RescueNet: DeepLabv3.
_base_ = [
    '../_base_/models/deeplabv3_r101.py', '../_base_/datasets/rescuenet.py',
    '../_base_/schedules/deeplab.py', '../_base_/default_runtime.py']
source, targets = ['potsdam_rgb'], ['rescuenet']
train_dataloader = dict(batch_size=2)
