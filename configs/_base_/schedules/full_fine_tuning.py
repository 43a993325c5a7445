# The published 512 px schedule with a tenth of the learning rate for the pre-trained backbone.
_base_ = './published_512.py'
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}))
