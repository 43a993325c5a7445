# Trf2Tem, CASID: tropical rainforest to temperate monsoon: HRDA.
_base_ = [
    '../_base_/models/hrda_mit-b5.py', '../_base_/datasets/casid.py',
    '../_base_/schedules/hrda.py', '../_base_/default_runtime.py']
source, targets = ['trf'], ['tem']
train_dataloader = dict(batch_size=2)
