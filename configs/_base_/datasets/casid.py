# CASID, four climates: `crossearth data info casid`.
_base_ = './crop_1024.py'
data_root = '{{$CROSSEARTH_DATA:data}}/casid'
train_dataloader = dict(dataset=dict(type='CASID'))
test_dataloader = dict(dataset=dict(type='CASID'))
