# The whole method on BlueMarble-Climate: one source climate, all four tested.
_base_ = '../../demo/crossearth_subtropical_monsoon.py'
