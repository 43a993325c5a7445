# Rein of the demo with the queries of demo_frozen.py, which differ from the first iteration on: Rein's begin nearly equal.
_base_ = './demo_rein.py'
model = dict(
    backbone=dict(adapter=dict(link_token_to_query=False)),
    decode_head=dict(type='Mask2FormerHead', num_queries=16))
