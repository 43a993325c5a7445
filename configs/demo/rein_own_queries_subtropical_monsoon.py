_base_ = [
    '../_base_/models/demo_rein_own_queries.py', '../_base_/datasets/bluemarble.py',
    '../_base_/schedules/demo.py', '../_base_/default_runtime.py']
source = ['subtropical_monsoon']
