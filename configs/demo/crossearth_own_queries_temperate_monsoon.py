_base_ = './crossearth_own_queries_subtropical_monsoon.py'
source = ['temperate_monsoon']
