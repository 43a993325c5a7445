# The schedule as the paper states it: AdamW 1e-4 for every crop, 30k iterations.
# It names no decay of the learning rate: this is the published one of 512 px.
_base_ = './published_512.py'
