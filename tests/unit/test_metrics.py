import pytest
import torch

from local_control.metrics import diffcc, divergence, edge_match, leak, lfmse, masked_ssim

SIZE = 128


def line(column):
    edges = torch.zeros(1, 1, SIZE, SIZE)
    edges[..., column] = 1
    return edges


FULL = torch.ones(1, 1, SIZE, SIZE)
LEFT = FULL.clone()
LEFT[..., SIZE // 2 :] = 0
EMPTY = torch.zeros(1, 1, SIZE, SIZE)


@pytest.mark.parametrize(("shift", "f1"), [(0, 1), (2, 1), (3, 0)])
def test_edges_match_within_the_tolerance(shift, f1):
    assert edge_match(line(30 + shift), line(30), FULL, tolerance=2).f1.item() == f1


def test_edges_outside_the_mask_do_not_count():
    pred = line(30) + line(100)
    assert edge_match(pred, line(30), LEFT).f1.item() == 1
    assert edge_match(pred, line(30), FULL).precision.item() == 0.5
    assert edge_match(line(30), pred, FULL).recall.item() == 0.5


def test_empty_edge_maps():
    assert edge_match(EMPTY, EMPTY, FULL).f1.item() == 1
    assert edge_match(line(30), EMPTY, FULL).f1.item() == 0
    assert edge_match(EMPTY, line(30), FULL).f1.item() == 0
    assert edge_match(EMPTY, EMPTY, 0 * FULL).f1.isnan().all()


def test_lfmse_is_zero_for_a_copy_and_best_inside_for_the_condition():
    copy = lfmse(line(30), line(30), LEFT)
    assert copy["inside"].item() == copy["outside"].item() == 0
    blank = lfmse(EMPTY, line(30), LEFT)["inside"]
    near = lfmse(line(31), line(30), LEFT)["inside"]
    assert 0 < near < blank


def test_lfmse_outside_grows_with_freedom_only_in_ours():
    free = line(30) + line(100)
    assert lfmse(free, line(30), LEFT)["outside"] > lfmse(line(30), line(30), LEFT)["outside"]


def test_diffcc_counts_missed_and_invented_cells():
    assert diffcc(line(30), line(30), LEFT)["coincidence"].item() == 1
    missed = diffcc(EMPTY, line(30), LEFT)
    assert missed["coincidence"].item() == 0
    assert missed["hallucination_inside"].item() == 0
    invented = diffcc(line(30) + line(100), EMPTY, LEFT)
    assert invented["hallucination_inside"] > 0
    assert invented["hallucination_outside"] > 0
    assert invented["coincidence"].isnan()


def test_diffcc_forgives_a_grey_level_and_the_reference_does_not():
    faint = torch.full_like(FULL, 1 / 255)
    assert diffcc(faint, EMPTY, LEFT)["hallucination_inside"].item() == 0
    assert diffcc(faint, EMPTY, LEFT, reference=True)["hallucination_inside"].item() == 1


def test_metrics_work_on_pictures_that_are_not_square():
    edges, mask = torch.zeros(2, 1, 96, 160), torch.ones(2, 1, 96, 160)
    edges[..., 40] = 1
    assert lfmse(edges, edges, mask)["inside"].tolist() == [0, 0]
    assert diffcc(edges, edges, mask)["coincidence"].tolist() == [1, 1]


def test_leak_is_the_change_outside_over_the_change_inside():
    free = torch.zeros(1, 3, SIZE, SIZE)
    assert leak(free + LEFT, free, LEFT).item() == 0
    assert leak(free + 0.5, free, LEFT).item() == pytest.approx(1)
    assert leak(free + LEFT + 0.25 * (1 - LEFT), free, LEFT).item() == pytest.approx(0.25)


def test_divergence_and_ssim_look_at_the_mask_only(generator):
    image = torch.rand(1, 3, SIZE, SIZE, generator=generator)
    other = image + (1 - LEFT) * 0.3
    assert divergence(other, image, LEFT).item() == 0
    inner = LEFT.clone()
    inner[..., SIZE // 2 - 8 :] = 0
    assert masked_ssim(other, image, inner).item() == pytest.approx(1, abs=1e-5)
    assert masked_ssim(other, image, 1 - LEFT).item() < 0.99


def test_nothing_to_look_at_is_nan_and_not_zero():
    assert divergence(FULL, FULL, EMPTY).isnan()
