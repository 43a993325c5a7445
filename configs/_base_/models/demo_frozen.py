# A frozen backbone with the demo's head and no adapter: what the features alone give.
_base_ = './demo_rein.py'
model = dict(
    backbone=dict(adapter=None), decode_head=dict(type='Mask2FormerHead', num_queries=16))
