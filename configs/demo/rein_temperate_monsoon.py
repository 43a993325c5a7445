_base_ = './rein_subtropical_monsoon.py'
source = ['temperate_monsoon']
