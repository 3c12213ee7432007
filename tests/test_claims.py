"""The twelve claims: the rule on made-up numbers, one change at a time, and the committed files."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from fmnist_lib import data, models
from fmnist_lib.runs.sweep import read_rows, settings
from fmnist_lib.training.loop import fit
from fmnist_lib.visualisers.hooks import capture

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import claim_list  # noqa: E402 (benchmarks are no package)
import claim_runs  # noqa: E402 (the same)
import claims  # noqa: E402 (the same)
from claim_runs import VARIANTS  # noqa: E402 (the same)

POINTS = replace(claim_list.CLAIMS[6].parts[1], smallest=0.5)
TIMES = replace(claim_list.CLAIMS[10].parts[0], smallest=1.25)


@pytest.mark.parametrize(
    ("confidence", "freedom", "expected"),  # from the table of critical values in the NIST handbook, 1.3.6.7.2
    [(0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 4, 2.776), (0.95, 5, 2.571), (0.95, 9, 2.262), (0.99, 7, 3.499)],
)
def test_quantiles_of_students_t(confidence: float, freedom: int, expected: float) -> None:
    assert claims.t_quantile(confidence, freedom) == pytest.approx(expected, abs=0.0005)


@pytest.mark.parametrize(
    ("values", "verdict", "reason"),
    [
        ([0.9, 1.0, 1.1, 0.8, 1.2], "supported", "clear"),
        ([-0.9, -1.0, -1.1, -0.8, -1.2], "contradicted", "clear"),
        ([0.20, 0.21, 0.22, 0.19, 0.18], "not supported", "small"),
        ([-0.20, -0.21, -0.22, -0.19, -0.18], "not supported", "small"),
        ([0.1, -0.1, 0.1, -0.1, 0.0], "not supported", "negligible"),
        ([3.0, -2.0, 2.0, -1.0, 1.0], "not supported", "undecided"),
        ([0.5, 0.5, 0.5, 0.5, 0.5], "supported", "clear"),  # at least the smallest that matters
        ([0.4999] * 5, "not supported", "small"),
    ],
)
def test_the_rule(values: list[float], verdict: str, reason: str) -> None:
    found = claims.judge(values, POINTS)
    assert (found.verdict, found.reason) == (verdict, reason)
    assert found.effect == pytest.approx(sum(values) / 5)


def test_an_interval_by_hand() -> None:
    """1 to 5: mean 3, deviation sqrt(2.5), so 3 -+ 2.776 * sqrt(2.5 / 5)."""
    found = claims.judge([1, 2, 3, 4, 5], POINTS)
    assert found.interval == pytest.approx((3 - 2.7764 * math.sqrt(0.5), 3 + 2.7764 * math.sqrt(0.5)), abs=1e-3)


def test_ratios_are_judged_by_their_logarithms() -> None:
    found = claims.judge([2, 4, 8, 4, 4], TIMES)
    assert found.effect == pytest.approx(4)  # the geometric mean
    low, high = found.interval
    assert low * high == pytest.approx(16) and 1 < low < 4
    assert found.verdict == "supported"
    assert claims.judge([1 / value for value in (2, 4, 8, 4, 4)], TIMES).verdict == "contradicted"
    assert claims.judge([1.1, 1.12, 1.09, 1.1, 1.11], TIMES).reason == "small"


def test_hardly_any_cost_means_that_the_whole_interval_is_below_half_a_point() -> None:
    (cost,) = claim_list.CLAIMS[9].parts
    assert claims.judge([-0.3, -0.2, -0.25, -0.3, -0.2], cost).verdict == "supported"
    assert claims.judge([-0.9, 0.1, -0.2, -0.3, -0.2], cost).verdict == "not supported"
    assert claims.judge([-0.9, -0.8, -1.2, -0.9, -1.0], cost).verdict == "contradicted"


def test_a_claim_needs_all_its_parts() -> None:
    assert claims.combine(["supported", "supported"]) == "supported"
    assert claims.combine(["supported", "not supported"]) == "not supported"
    assert claims.combine(["supported", "contradicted"]) == "contradicted"


def test_a_network_that_never_gets_there_counts_with_all_its_steps() -> None:
    runs = {name: {"steps_to_goal": 50, "steps_per_epoch": 125} for name in VARIANTS}
    runs["alexnet, sigmoid"]["steps_to_goal"] = None
    assert claim_list.CLAIMS[10].parts[0].value(runs) == 625 / 50
    assert claim_list.CLAIMS[8].parts[0].value(runs) == 1


def test_of_a_network_that_never_gets_there_the_ratio_is_the_least_that_it_may_be() -> None:
    runs = {name: {"steps_to_goal": 50, "steps_per_epoch": 125} for name in VARIANTS}
    part = claim_list.CLAIMS[10].parts[0]
    assert "censored" not in claims.conclude(part, [runs] * 5)
    cut = runs | {"alexnet, sigmoid": {"steps_to_goal": None, "steps_per_epoch": 125}}
    assert claims.conclude(part, [runs, runs, cut, cut, cut])["censored"] == 3


def test_a_reason_says_when_the_effect_lies_on_the_other_side() -> None:
    def tell(values: list[float], part: claim_list.Part) -> str:
        return claims.REASONS[claims.name_reason(claims.judge(values, part), part)]

    assert tell([-0.9, -1.0, -1.1, -0.8, -1.2], POINTS).endswith("but the other way round")
    assert tell([-0.20, -0.21, -0.22, -0.19, -0.18], POINTS).startswith("beyond chance the other way round")
    assert tell([1 / value for value in (2, 4, 8, 4, 4)], TIMES).endswith("but the other way round")
    for values, part in (([0.9, 1.0, 1.1, 0.8, 1.2], POINTS), ([2, 4, 8, 4, 4], TIMES), ([-0.1] * 5, POINTS)):
        assert ("other way" in tell(values, part)) == (values[0] < 0)
    (cost,) = claim_list.CLAIMS[9].parts
    assert "other way" not in tell([-0.3, -0.2, -0.25, -0.3, -0.2], cost)


def test_a_slope_is_the_rise_over_the_whole_depth() -> None:
    runs = {"alexnet": {"probe_trained": [0.80, 0.82, 0.84, 0.86, 0.88]}}
    assert claim_list.slope("alexnet", "trained")(runs) == pytest.approx(8)
    assert claim_list.climb("alexnet")(runs) == pytest.approx(1)


CHANGED = [name for name in VARIANTS if VARIANTS[name].change]


@pytest.mark.parametrize("name", CHANGED)
def test_one_thing_is_changed(name: str) -> None:
    """The same parameters with the same first values; another kind of module or another input, and other scores."""
    variant = VARIANTS[name]
    model, plain = variant.build(0), models.build_seeded(variant.model, 0, **variant.overrides)
    mine, theirs = dict(model.named_parameters()), dict(plain.named_parameters())
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    kinds = {(type(a).__name__, type(b).__name__) for a, b in zip(model.modules(), plain.modules(), strict=True)}
    other = {(a, b) for a, b in kinds if a != b}
    expected = {"no norm": {("Affine", "BatchNorm2d")}, "sigmoid": {("Sigmoid", "ReLU")}}
    assert other == expected.get(name.split(", ")[1], set())
    x = torch.randn(4, 1, 28, 28)
    assert not torch.allclose(model.train()(x), plain.train()(x))


def test_both_poolings_give_maps_of_one_size() -> None:
    sizes = []
    for name in ("alexnet, padded 3/2", "alexnet, 2/2"):
        model = VARIANTS[name].build(0)
        pools = [key for key, module in model.named_modules() if isinstance(module, nn.MaxPool2d)]
        with capture(model, pools) as seen:
            model(torch.randn(1, 1, 28, 28))
        sizes.append([seen[key].shape for key in pools])
    assert sizes[0] == sizes[1]
    assert [shape[-1] for shape in sizes[0]] == [14, 7, 4]


def test_raw_pixels_are_from_0_to_1() -> None:
    model = VARIANTS["alexnet, raw pixels"].build(0)
    seen = []
    model.features.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(data.normalise(torch.arange(256, dtype=torch.uint8).repeat(4)[: 28 * 28].reshape(1, 1, 28, 28)))
    torch.testing.assert_close((seen[0].amin(), seen[0].amax()), (torch.tensor(0.0), torch.tensor(1.0)))


def test_norm_without_normalising_scales_and_shifts() -> None:
    norm = nn.BatchNorm2d(3)
    affine = claim_runs.Affine(norm)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2, 3]))
        norm.bias.copy_(torch.tensor([0.0, 5, 0]))
    found = affine(torch.ones(2, 3, 4, 4))
    assert found[:, 0].eq(1).all() and found[:, 1].eq(7).all() and found[:, 2].eq(3).all()


def test_ten_epochs_begin_with_the_five() -> None:
    accuracies = []
    for epochs in (1, 2):
        variant = replace(VARIANTS["alexnet"], epochs=epochs)
        history = fit(variant.build(0), variant.batches(0, dataset="tiny"), variant.recipe, device="cpu")
        accuracies.append([row["train_loss"] for row in history.epochs])
    assert accuracies[1][:1] == accuracies[0]


def test_layers_that_both_residual_networks_have() -> None:
    kernels = {name: claim_runs.kernels_of(VARIANTS[name].build(0)) for name in ("resnet18", "resnet34")}
    matched = {name: claim_runs.match(list(found)) for name, found in kernels.items()}
    assert matched["resnet18"] == list(kernels["resnet18"])
    shapes = {name: [kernels[name][layer].shape for layer in layers] for name, layers in matched.items()}
    assert shapes["resnet18"] == shapes["resnet34"]


@pytest.fixture(scope="module")
def row() -> claim_runs.Row:
    return claim_runs.make_row("alexnet", 0, dataset="tiny")


def test_a_run_leaves_the_numbers_of_the_table(row: claim_runs.Row) -> None:
    committed = {line["variant"]: line for line in read_rows(claims.ROWS)}["alexnet"]
    assert row.keys() == {key for key, text in committed.items() if text and key in row}
    assert row["steps_per_epoch"] == 4
    for key, value in row.items():
        assert isinstance(value, str) or value is None or math.isfinite(value), key


def test_gradients_movement_and_first_kernels_are_those_of_the_run(row: claim_runs.Row) -> None:
    """Trained once more by hand, with the same seed, for the five epochs that are looked into."""
    variant = replace(VARIANTS["alexnet"], epochs=5)
    model = variant.build(0)
    start = {name: weight.detach().clone() for name, weight in claim_runs.kernels_of(model).items()}
    sums = {name: torch.zeros(len(weight)) for name, weight in start.items()}

    def add(training: object) -> None:
        for name, weight in claim_runs.kernels_of(model).items():
            sums[name] += torch.stack([filter_gradient.norm() for filter_gradient in weight.grad])

    fit(model, variant.batches(0, dataset="tiny"), variant.recipe, device="cpu", observers=[add])
    found = []
    for name, weight in claim_runs.kernels_of(model).items():
        moved = torch.stack([(a - b).norm() for a, b in zip(weight.detach(), start[name], strict=True)])
        places = [values.argsort().argsort().double() for values in (sums[name], moved)]
        found.append(float(torch.corrcoef(torch.stack(places))[0, 1]))
    assert row["moved_by_gradients"] == pytest.approx(sum(found) / len(found), abs=0.002)
    assert len(json.loads(row["probe_trained"])) == 5
    assert row["oriented_untrained"] * 32 == pytest.approx(round(row["oriented_untrained"] * 32), abs=1e-4)


def texts() -> set[str]:
    """All that is said in English and in Chinese."""
    found = {claims.SETUP, claims.RULE, *claims.REASONS.values(), *claims.IN_SHORT.values(), *claims.UNITS.values()}
    found |= {"supported", "not supported", "contradicted"}
    for claim in claim_list.CLAIMS:
        found |= {claim.claim, claim.limits}
        found |= {text for part in (*claim.parts, *claim.beside) for text in (part.what, part.measure.words)}
    return found - {""}


def test_every_text_is_there_in_chinese_and_none_without_use() -> None:
    assert set(claims.CHINESE) == texts()


IS_COMPLETE = {row["key"] for row in read_rows(claims.ROWS)} >= {f"{v}-{s}" for v in VARIANTS for s in claims.SEEDS}
after_all_runs = pytest.mark.skipif(not IS_COMPLETE, reason="runs are missing: python benchmarks/claims.py goes on")


@after_all_runs
def test_the_committed_verdicts_follow_from_the_committed_rows() -> None:
    written = json.loads(claims.RESULT.read_text(encoding="utf-8"))
    written.pop("machine")
    assert written == json.loads(json.dumps(claims.conclude_all(claims.by_seed(read_rows(claims.ROWS)))))
    assert [claim["number"] for claim in written["claims"]] == list(range(1, 13))
    for claim in written["claims"]:
        assert claim["verdict"] in ("supported", "not supported", "contradicted")
        assert all(part["n"] >= claims.FEWEST for part in claim["parts"])


@after_all_runs
def test_the_committed_rows_are_those_of_the_variants_as_they_are() -> None:
    rows = read_rows(claims.ROWS)
    assert {row["key"] for row in rows} == {f"{name}-{seed}" for name in VARIANTS for seed in claims.SEEDS}
    for row in rows:
        variant = VARIANTS[row["variant"]]
        assert json.loads(row["settings"]) == settings(variant.recipe) | {"images": claim_runs.IMAGES}
        assert int(row["steps_per_epoch"]) == math.ceil(claim_runs.IMAGES / variant.batch_size)


@after_all_runs
def test_a_verdict_moves_with_the_rows() -> None:
    seeds = claims.by_seed(read_rows(claims.ROWS))
    part = claim_list.CLAIMS[6].parts[1]
    for shift, verdict in ((0.5, "supported"), (-0.5, "contradicted")):
        moved = [runs | {"resnet34": runs["resnet34"] | {"val_accuracy_5": 0.8 + shift}} for runs in seeds]
        assert claims.conclude(part, moved)["verdict"] == verdict
