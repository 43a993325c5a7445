# Tem2Sub, CASID: temperate monsoon to subtropical monsoon: HRDA.
_base_ = [
    '../_base_/models/hrda_mit-b5.py', '../_base_/datasets/casid.py',
    '../_base_/schedules/hrda.py', '../_base_/default_runtime.py']
source, targets = ['tem'], ['sub']
train_dataloader = dict(batch_size=2)
