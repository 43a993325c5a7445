# The backbone of the demo trained as a whole, with the head of demo_frozen.py.
_base_ = './demo_frozen.py'
model = dict(backbone=dict(frozen=False))
