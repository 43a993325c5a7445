# ISPRS Potsdam (RGB, IRRG) and Vaihingen (IRRG), six classes: `crossearth data info potsdam`.
_base_ = './crop_512.py'
datasets = [
    dict(type='Potsdam', data_root='{{$CROSSEARTH_DATA:data}}/potsdam'),
    dict(type='Vaihingen', data_root='{{$CROSSEARTH_DATA:data}}/vaihingen')]
train_dataloader = dict(dataset=dict(type='DomainConcat', datasets=datasets))
test_dataloader = dict(dataset=dict(type='DomainConcat', datasets=datasets))
