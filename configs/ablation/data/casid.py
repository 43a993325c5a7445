# The whole method on CASID: the paper's source climate of its ablations, all four tested.
_base_ = '../../crossearth/casid_sub2tem.py'
test_dataloader = dict(dataset=dict(domains=['sub', 'tem', 'tms', 'trf']))
test_evaluator = dict(domains=['sub', 'tem', 'tms', 'trf'])
