# CrossEarth of the demo with the queries of demo_rein_own_queries.py.
_base_ = './demo_crossearth.py'
model = dict(
    backbone=dict(adapter=dict(link_token_to_query=False)),
    decode_head=dict(type='Mask2FormerHead', num_queries=16))
