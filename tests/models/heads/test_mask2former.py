# SPDX-License-Identifier: Apache-2.0
import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from crossearth.errors import ConfigError, DataError
from crossearth.models.heads import Mask2FormerHead, ReinMask2FormerHead
from crossearth.models.heads.mask2former import loss as loss_module
from crossearth.models.heads.mask2former.decoder import Predictions
from crossearth.models.heads.mask2former.loss import Mask2FormerLoss
from crossearth.models.heads.mask2former.matcher import LossWeights, match, matching_cost
from crossearth.models.heads.mask2former.points import (
    PointDraws,
    pixel_table,
    read_logits,
    sample_points,
    uncertain_points,
)
from crossearth.models.heads.mask2former.targets import Target, make_targets
from crossearth.registry import MODELS

CHANNELS = [12, 16, 20, 24]
LAYER = dict(num_layers=2, num_heads=4, ffn_channels=24)
TINY = dict(
    in_channels=CHANNELS, num_classes=3, feat_channels=16, num_points=64,
    pixel_decoder=dict(num_groups=4, **LAYER), transformer_decoder=LAYER)


def vanilla(**kwargs: Any) -> Mask2FormerHead:
    return Mask2FormerHead(**TINY, num_queries=6, **kwargs)


def pyramid(h: int = 64, w: int = 96, batch: int = 2) -> list[Tensor]:
    """Feature maps of an image of h x w px; sizes are rounded up."""
    return [torch.randn(batch, c, -(-h // s), -(-w // s))
            for c, s in zip(CHANNELS, (4, 8, 16, 32), strict=True)]


def samples(*labels: Tensor) -> list[SegDataSample]:
    found = []
    for label in labels:
        sample = SegDataSample(metainfo=dict(img_path='tiles/7.png'))
        sample.gt_sem_seg = PixelData(data=label[None])
        found.append(sample)
    return found


def labels(h: int = 64, w: int = 96) -> Tensor:
    label = torch.zeros(h, w, dtype=torch.uint8)
    label[h // 3:] = 2
    label[:, w // 2:] = 1
    label[-h // 4:, -w // 4:] = 255
    return label


# ---- the published model

def golden_head(golden: dict[str, np.ndarray]) -> ReinMask2FormerHead:
    config = json.loads(str(golden['config']))
    head = ReinMask2FormerHead(
        [config['embed']] * 4, config['nc'], config['feat'],
        pixel_decoder=dict(
            num_layers=config['pixel_layers'], num_heads=config['pixel_heads'],
            ffn_channels=config['ffn_pixel'], num_groups=config['gn_groups']),
        transformer_decoder=dict(
            num_layers=config['decoder_layers'], num_heads=config['decoder_heads'],
            ffn_channels=config['ffn_decoder']))
    prefix = 'w/decode_head.'
    head.load_state_dict({
        key[len(prefix):]: torch.from_numpy(golden[key])
        for key in golden if key.startswith(prefix)}, strict=True)
    return head.eval()


def golden_inputs(golden: dict[str, np.ndarray]) -> tuple[list[Tensor], Tensor]:
    features = [torch.from_numpy(golden[f'feat{i}']) for i in range(4)]
    return features, torch.from_numpy(golden['query'])


def assert_near(found: Tensor, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.detach().numpy() - expected).max() <= 1e-4 * np.abs(expected).max()


def test_golden_outputs_of_first_and_last_layer(golden: dict[str, np.ndarray]) -> None:
    found = golden_head(golden)(golden_inputs(golden))
    assert_near(found.cls_logits[0], golden['cls_first'])
    assert_near(found.mask_logits(0), golden['mask_first'])
    assert_near(found.cls_logits[-1], golden['cls_last'])
    assert_near(found.mask_logits(-1), golden['mask_last'])


def test_golden_scores(golden: dict[str, np.ndarray]) -> None:
    # The size of the window counts; that of the padded image does not.
    metas = [dict(img_shape=(64, 64, 3), pad_shape=(96, 80))] * 2
    assert_near(golden_head(golden).predict(golden_inputs(golden), metas), golden['whole'])


@pytest.mark.parametrize(('head', 'classes', 'expected'), [
    (Mask2FormerHead, 6, 20_561_863), (Mask2FormerHead, 5, 20_561_606),
    (ReinMask2FormerHead, 6, 20_576_455), (ReinMask2FormerHead, 7, 20_576_712)])
def test_number_of_parameters(head: type, classes: int, expected: int) -> None:
    with torch.device('meta'):
        model = head([1024] * 4, classes)
    assert sum(p.numel() for p in model.parameters()) == expected
    assert sum(p.numel() for p in model.state_dict().values()) == expected


# ---- the heads

def test_heads_are_built_by_name() -> None:
    assert isinstance(MODELS.build(dict(type='Mask2FormerHead', **TINY)), Mask2FormerHead)
    head = MODELS.build(dict(type='ReinMask2FormerHead', **TINY))
    assert isinstance(head, ReinMask2FormerHead)
    assert (head.num_classes, head.out_channels) == (3, 3)
    assert (head.align_corners, head.ignore_index) == (False, 255)


@settings(deadline=None, max_examples=12)
@given(h=st.integers(1, 128), w=st.integers(1, 128), batch=st.integers(1, 2))
def test_any_size_of_image(h: int, w: int, batch: int) -> None:
    head, x = vanilla(), pyramid(h, w, batch)
    scores = head.predict(x, [dict(img_shape=(h, w))] * batch)
    assert scores.shape == (batch, 3, h, w)
    assert scores.min() >= 0
    total = sum(head.loss(x, samples(*[labels(h, w)] * batch)).values())
    assert total.isfinite()


def test_images_of_a_batch_do_not_touch_each_other() -> None:
    head, x = vanilla(), pyramid()
    together = head.predict(x, [dict(img_shape=(64, 96))] * 2)
    alone = head.predict([f[1:] for f in x], [dict(img_shape=(64, 96))])
    torch.testing.assert_close(together[1:], alone)


def test_only_the_last_prediction_is_made_for_scores() -> None:
    head, seen = vanilla(), []
    head.cls_embed.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    x = pyramid()
    scores = head.predict(x, [dict(img_shape=(64, 96))] * 2)
    assert seen == [(1, 2, 6, 16)]
    last = head(x)
    masks = F.interpolate(last.mask_logits(-1), (64, 96), mode='bilinear').sigmoid()
    classes = last.cls_logits[-1].softmax(-1)[..., :-1]
    torch.testing.assert_close(scores, torch.einsum('nqk,nqhw->nkhw', classes, masks))


def test_loss_names_and_gradients() -> None:
    head = vanilla()
    losses = head.loss(pyramid(), samples(labels(), labels().flip(0)))
    assert set(losses) == {
        f'{prefix}loss_{part}' for prefix in ('', 'd0.', 'd1.') for part in ('cls', 'mask', 'dice')}
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_rein_queries_receive_gradients() -> None:
    head, queries = ReinMask2FormerHead(**TINY), torch.randn(5, 16, requires_grad=True)
    losses = head.loss((pyramid(), queries), samples(labels(), labels()))
    sum(losses.values()).backward()
    assert queries.grad is not None
    assert queries.grad.abs().min() > 0


@pytest.mark.parametrize('ignore_mask', ['negative', 'exclude'])
def test_images_without_any_class(ignore_mask: str) -> None:
    head = vanilla(ignore_mask=ignore_mask)
    void = torch.full((64, 96), 255, dtype=torch.uint8)
    losses = head.loss(pyramid(), samples(void, void))
    assert losses['loss_mask'].item() == losses['d0.loss_dice'].item() == 0
    sum(losses.values()).backward()
    # Zero, but there: distributed training waits for the gradient of every parameter.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_bfloat16_autocast_stays_near_float32() -> None:
    head, x, data = vanilla(), pyramid(), samples(labels(), labels())
    results = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            losses = head.loss(x, data)
            scores = head.predict(x, [dict(img_shape=(64, 96))] * 2)
        assert scores.dtype == torch.float32
        results.append(sum(losses.values()).item())
    assert results[1] == pytest.approx(results[0], rel=0.02)


def test_diverged_features_show_in_the_loss() -> None:
    x = pyramid()
    x[0][0, 0, 0, 0] = torch.nan
    assert vanilla().loss(x, samples(labels(), labels()))['loss_mask'].isnan()


# ---- targets

def target_of(label: Tensor, classes: int, exclude: bool) -> Target:
    return make_targets([label], classes, 255, exclude, ['x'])[0]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([0, 1, 2, 3, 255]), min_size=12, max_size=12))
def test_masks_put_together_are_the_label_map(ids: list[int]) -> None:
    label = torch.tensor(ids).view(3, 4)
    target = target_of(label, 4, exclude=False)
    rebuilt = torch.full((3, 4), 255)
    for i, mask in zip(target.labels, target.masks, strict=True):
        assert mask.any()
        rebuilt[mask == 1] = i
    assert rebuilt.equal(label)
    excluded = target_of(label, 4, exclude=True).masks
    assert (excluded.isnan() == (label == 255)).all()
    assert excluded.nan_to_num().equal(target.masks)


@pytest.mark.parametrize('wrong', [3, 200, -1])
def test_refuses_ids_without_a_class(wrong: int) -> None:
    label = labels().long()
    label[0, 0] = wrong
    with pytest.raises(DataError, match=rf'Label id {wrong} .*num_classes=3.*tiles/7\.png'):
        vanilla().loss(pyramid(), samples(labels(), label))


# ---- matching

def costs_by_loops(cls: np.ndarray, x: np.ndarray, ids: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The definition, pair by pair; x (Q, P) logits and t (M, P) masks."""
    out = np.zeros((len(x), len(t)))
    for q, m in np.ndindex(out.shape):
        p = 1 / (1 + np.exp(-x[q]))
        bce = -(t[m] * np.log(p) + (1 - t[m]) * np.log(1 - p)).mean()
        dice = 1 - (2 * (p * t[m]).sum() + 1) / (p.sum() + t[m].sum() + 1)
        probability = np.exp(cls[q, ids[m]]) / np.exp(cls[q]).sum()
        out[q, m] = -2 * probability + 3 * bce + 4 * dice
    return out


@pytest.mark.parametrize('count', [3, 16, 20])
def test_costs_equal_their_definition_on_the_points_that_count(count: int) -> None:
    cls, x = torch.randn(2, 5, 4), 5 * torch.randn(2, 5, 30)
    ids, masks = torch.tensor([2, 0]), torch.rand(2, 2, 30)
    masks[..., count:] = torch.nan
    found = matching_cost(cls, x, ids, masks, LossWeights(cls=2, mask=3, dice=4))
    for layer in range(2):
        logits, inside = (v[layer, :, :count].double().numpy() for v in (x, masks))
        expected = costs_by_loops(cls[layer].numpy(), logits, ids.numpy(), inside)
        np.testing.assert_allclose(found[layer].numpy(), expected, rtol=1e-5)


def test_costs_of_huge_logits_are_finite() -> None:
    x = torch.tensor([[[-500.0, 500.0, 0.0]]])
    found = matching_cost(
        torch.zeros(1, 1, 2), x, torch.tensor([0]), torch.tensor([[[1.0, 0.0, 1.0]]]),
        LossWeights(cls=0, mask=1, dice=0))
    assert found.item() == pytest.approx((500 + 500 + np.log(2)) / 3)


@pytest.mark.parametrize(('queries', 'masks'), [(5, 3), (3, 3), (2, 4)])
def test_matching_is_the_cheapest(queries: int, masks: int) -> None:
    cost = torch.rand(queries, masks)
    rows, columns = (pairs[0] for pairs in match([cost[None]]))
    assert len(rows) == min(queries, masks)
    assert rows.tolist() == sorted(set(rows.tolist()))
    wide = cost if queries <= masks else cost.T
    cheapest = min(
        sum(wide[i, j] for i, j in enumerate(order))
        for order in itertools.permutations(range(wide.shape[1]), len(wide)))
    assert cost[rows, columns].sum().item() == pytest.approx(cheapest.item())


def test_layers_and_images_are_matched_each_by_itself() -> None:
    costs = [torch.rand(3, 5, count) for count in (2, 0, 7)]
    queries, masks = match(costs)
    assert queries.shape == masks.shape == (3, 2 + 0 + 5)
    for layer in range(3):
        for image, (part, first_mask) in {0: (slice(2), 0), 2: (slice(2, None), 2)}.items():
            alone = match([costs[image][layer:layer + 1]])
            assert queries[layer, part].equal(alone[0][0] + 5 * image)
            assert masks[layer, part].equal(alone[1][0] + first_mask)


# ---- points

def test_points_are_read_at_pixel_centres() -> None:
    maps = torch.arange(6.0).view(1, 1, 2, 3)
    points = torch.tensor([[[0.5 / 3, 0.25], [1.5 / 3, 0.75], [1 / 3, 0.5]]])
    torch.testing.assert_close(sample_points(maps, points), torch.tensor([[[0.0, 4.0, 2.0]]]))


def test_a_seed_gives_the_points_of_one_layer_after_the_other() -> None:
    torch.manual_seed(3)
    draws = PointDraws.draw(2, 3, 4, 20, 60, 15, like=torch.zeros(1))
    torch.manual_seed(3)
    for layer in range(2):
        for image in range(3):
            assert draws.matching[layer, image].equal(torch.rand(20, 2))
        assert draws.candidates[layer].equal(torch.rand(4, 60, 2))
        assert draws.others[layer].equal(torch.rand(4, 5, 2))


def test_uncertain_points_are_the_least_certain_candidates() -> None:
    logits, candidates, others = torch.randn(2, 8, 8), torch.rand(2, 60, 2), torch.rand(2, 5, 2)
    certainty = sample_points(logits[:, None], candidates).abs().flatten(1)
    points = uncertain_points(logits, candidates, others, 20)
    found = sample_points(logits[:, None], points[:, :15]).abs().flatten(1)
    torch.testing.assert_close(found.sort().values, certainty.sort().values[:, :15])
    assert points[:, 15:].equal(others)
    ignored = certainty < certainty.median()
    points = uncertain_points(logits, candidates, others, 20, ignored)
    found = sample_points(logits[:, None], points[:, :15]).abs().flatten(1)
    allowed = certainty.masked_fill(ignored, torch.inf).sort().values[:, :15]
    torch.testing.assert_close(found.sort().values, allowed)


@settings(deadline=None, max_examples=20)
@given(h=st.integers(1, 6), w=st.integers(1, 6), layers=st.integers(1, 3))
def test_reading_logits_is_making_maps_and_sampling_them(h: int, w: int, layers: int) -> None:
    points = torch.cat((torch.rand(layers, 20, 2), torch.tensor([[0.0, 0], [0, 1], [1, 1]])
                        .expand(layers, -1, -1)), 1).double()
    embeds, features = torch.randn(layers, 5, 4).double(), torch.randn(4, h, w).double()
    expected = sample_points(torch.einsum('lqc,chw->lqhw', embeds, features), points)
    table = pixel_table(features)
    torch.testing.assert_close(read_logits(embeds, table, points), expected)
    # more points than pixels, and fewer
    torch.testing.assert_close(
        read_logits(embeds, table, points.repeat(1, 3, 1)), expected.repeat(1, 1, 3))


# ---- pixels without a class

def losses_of(predictions: Predictions, label: Tensor, exclude: bool) -> dict[str, float]:
    criterion = Mask2FormerLoss(3, LossWeights(), 100, 3.0, 0.75, exclude)
    torch.manual_seed(5)
    target = target_of(label, 3, exclude)
    return {k: v.item() for k, v in criterion(predictions, [target]).items()}


def random_predictions(h: int, w: int) -> Predictions:
    """With masks as large as the label map, so that each logit belongs to one pixel."""
    return Predictions(
        torch.randn(2, 1, 6, 4), torch.randn(2, 1, 6, 8), torch.randn(1, 8, h, w))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), ignored=st.floats(0.05, 0.9))
def test_exclude_does_not_see_logits_of_ignored_pixels(seed: int, ignored: float) -> None:
    torch.manual_seed(seed)
    label = torch.randint(0, 3, (24, 20))
    label[torch.rand(24, 20) < ignored / 4] = 255
    label[:int(24 * ignored)] = 255
    before = random_predictions(24, 20)
    noise = 10 * torch.randn(1, 8, 24, 20) * (label == 255)
    after = before._replace(mask_features=before.mask_features + noise)
    assert losses_of(before, label, True) == pytest.approx(losses_of(after, label, True), rel=1e-5)
    assert losses_of(before, label, False) != pytest.approx(
        losses_of(after, label, False), rel=1e-3)


def test_exclude_sends_no_gradient_to_ignored_pixels() -> None:
    label = torch.randint(0, 3, (24, 20))
    label[:12] = 255
    features = torch.randn(1, 8, 24, 20, requires_grad=True)
    predictions = random_predictions(24, 20)._replace(mask_features=features)
    for exclude in (True, False):
        criterion = Mask2FormerLoss(3, LossWeights(), 100, 3.0, 0.75, exclude)
        losses = criterion(predictions, [target_of(label, 3, exclude)])
        (gradient,) = torch.autograd.grad(sum(losses.values()), features)
        assert (gradient[..., :12, :].abs().max() == 0) == exclude
        assert gradient[..., 12:, :].abs().max() > 0


def test_without_ignored_pixels_both_treatments_are_the_same() -> None:
    label, predictions = torch.randint(0, 3, (24, 20)), random_predictions(24, 20)
    assert losses_of(predictions, label, True) == losses_of(predictions, label, False)


# ---- losses

def test_classification_is_the_weighted_mean_over_queries() -> None:
    predictions, label = random_predictions(8, 8), torch.ones(8, 8, dtype=torch.long)
    found = losses_of(predictions, label, False)['loss_cls']
    nll = -F.log_softmax(predictions.cls_logits[-1, 0], -1)
    no_object = 0.1 * nll[:, 3]
    # One query is given the class, whichever it is; the others have none.
    possible = [(no_object.sum() - no_object[q] + nll[q, 1]) / 1.5 for q in range(6)]
    assert any(found == pytest.approx(2 * value.item(), rel=1e-5) for value in possible)


def test_masks_are_counted_over_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, label = random_predictions(8, 8), torch.randint(0, 3, (8, 8))
    alone = losses_of(predictions, label, False)

    def twice_as_many_elsewhere(count: Tensor, op: str) -> None:
        assert (count.item(), op) == (3, 'mean')
        count.fill_((3 + 6) / 2)

    monkeypatch.setattr(loss_module, 'all_reduce', twice_as_many_elsewhere)
    beside = losses_of(predictions, label, False)
    assert beside['loss_mask'] == pytest.approx(alone['loss_mask'] / 1.5)
    assert beside['d0.loss_dice'] == pytest.approx(alone['d0.loss_dice'] / 1.5)
    assert beside['loss_cls'] == alone['loss_cls']


# ---- errors

@pytest.mark.parametrize(('change', 'message'), [
    (dict(in_channels=[8, 8, 8]), 'has 3 entries'),
    (dict(feat_channels=18), r'\(18\) must be divisible by num_groups \(4\)'),
    (dict(transformer_decoder=dict(num_heads=3)), r'\(16\) must be a multiple of num_heads \(3\)'),
    (dict(oversample_ratio=0.5), 'oversample_ratio=0.5'),
    (dict(importance_sample_ratio=1.5), 'importance_sample_ratio=1.5'),
    (dict(ignore_mask='none'), "ignore_mask .* is 'none'. Use 'negative'")])
def test_refuses_arguments(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mask2FormerHead(**{**TINY, **change})


def test_refuses_what_the_backbone_does_not_return() -> None:
    with pytest.raises(ConfigError, match='use ReinMask2FormerHead'):
        vanilla()((pyramid(), torch.randn(5, 16)))
    rein = ReinMask2FormerHead(**TINY)
    with pytest.raises(ConfigError, match='link_token_to_query=True'):
        rein(pyramid())
    with pytest.raises(ConfigError, match=r'queries of 8 channels.*feat_channels=16'):
        rein((pyramid(), torch.randn(5, 8)))
