# R2U, LoveDA: rural to urban: DAFormer.
_base_ = [
    '../_base_/models/daformer_mit-b5.py', '../_base_/datasets/loveda.py',
    '../_base_/schedules/daformer.py', '../_base_/default_runtime.py']
source, targets = ['rural'], ['urban']
train_dataloader = dict(batch_size=2)
