# LoRA on the frozen backbone of the demo, with the head of demo_frozen.py: it makes no queries.
_base_ = './demo_frozen.py'
model = dict(backbone=dict(adapter=dict(_delete_=True, type='LoRA', rank=8)))
