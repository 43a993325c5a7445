# BlueMarble-Climate, nine climates: `python tools/prepare_bluemarble.py` builds it.
_base_ = './crop_128.py'
data_root = '{{$CROSSEARTH_DATA:data}}/bluemarble_climate'
targets = ['subtropical_monsoon', 'temperate_monsoon', 'tropical_monsoon', 'tropical_rainforest']
train_dataloader = dict(dataset=dict(type='BlueMarbleClimate'))
test_dataloader = dict(dataset=dict(type='BlueMarbleClimate'))
