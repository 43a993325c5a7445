# The frozen backbone of the demo and a linear classifier of its features.
_base_ = './demo_frozen.py'
model = dict(decode_head=dict(_delete_=True, type='LinearHead', in_channels=(384, 384, 384, 384)))
