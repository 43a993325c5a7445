# WHU Building, aerial and satellite II: `crossearth data info whu`.
# The IoU of buildings counts first.
_base_ = './crop_512.py'
data_root = '{{$CROSSEARTH_DATA:data}}/whu'
train_dataloader = dict(dataset=dict(type='WHUBuilding'))
test_dataloader = dict(dataset=dict(type='WHUBuilding'))
test_evaluator = dict(foreground=1)
