_base_ = './rein_subtropical_monsoon.py'
source = ['tropical_rainforest']
