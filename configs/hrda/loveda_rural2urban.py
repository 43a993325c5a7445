# R2U, LoveDA: rural to urban: HRDA.
_base_ = [
    '../_base_/models/hrda_mit-b5.py', '../_base_/datasets/loveda.py',
    '../_base_/schedules/hrda.py', '../_base_/default_runtime.py']
source, targets = ['rural'], ['urban']
train_dataloader = dict(batch_size=2)
