_base_ = './crossearth_subtropical_monsoon.py'
source = ['temperate_monsoon']
