_base_ = './rein_own_queries_subtropical_monsoon.py'
source = ['tropical_monsoon']
