# The whole method on CASID: the paper's source climate of its ablations, all four tested.
_base_ = '../../crossearth/casid_sub2all.py'
