_base_ = './crossearth_subtropical_monsoon.py'
source = ['tropical_rainforest']
