# Bottleneck adapters on the frozen backbone of the demo, with the head of demo_frozen.py: they make no queries.
_base_ = './demo_frozen.py'
model = dict(backbone=dict(adapter=dict(_delete_=True, type='BottleneckAdapter', dim=64)))
