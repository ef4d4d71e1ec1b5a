"""Presets: what is read, what is refused, and that every number of a preset matters."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.engine.portfolio import (
    Bucket,
    Expiry,
    HedgingCollateral,
    OptionLeg,
    Perpetual,
    PresetError,
    Underlying,
    evaluate_many,
    parse_preset,
)
from services.engine.portfolio.preset import MAX_BYTES, MAX_SCENARIOS, VolMode
from tests.unit.portfolio.books import call, put
from tests.unit.portfolio.presets import FOLDER, SHIPPED, body, parse, preset, with_scenarios

SECTIONS = ("vol_shock", "margin", "basis_contingency", "other_contingency", "skew_shock")
NUMBERS = [(section, key) for section in SECTIONS for key in body()[section]]


def refusal(changed: dict[str, Any] | bytes) -> str:
    data = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
    with pytest.raises(PresetError) as caught:
        parse_preset(data, "test")
    return str(caught.value)


def with_number(section: str, key: str, value: object) -> dict[str, Any]:
    changed = body()
    changed[section][key] = value
    return changed


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_presets_are_clean_and_name_their_source(name: str) -> None:
    shipped, notes = parse_preset((FOLDER / f"{name}.json").read_bytes(), name)
    assert notes == []
    assert shipped.name == name
    assert len(shipped.source) > 40
    assert len({scenario.id for scenario in shipped.scenarios}) == len(shipped.scenarios)


def test_every_file_of_the_folder_is_known_here() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(SHIPPED)


def test_published_grid_has_its_scenarios() -> None:
    """23 regular scenarios, six tails and two tilts of the smile; ids are shock and mode."""
    ids = [scenario.id for scenario in preset("derive-pm2").scenarios]
    assert len(ids) == 31
    assert ids[0] == "1.18:up"
    assert {"1:none", "0.955:down", "0.82:up", "0.34:up", "4:up", "linear", "abs"} <= set(ids)
    assert len(preset("derive-pm1").scenarios) == 23
    assert len(preset("derive-pm2-mainnet").scenarios) == 33
    assert len(preset("span-like").scenarios) == 16


def test_ids_do_not_depend_on_how_a_number_is_written() -> None:
    (scenario,) = with_scenarios(("01.180", "uP", "1.0")).scenarios
    assert (scenario.id, scenario.spot_shock, scenario.vol_shock) == ("1.18:up", 1.18, VolMode.UP)


@pytest.mark.parametrize(("section", "key"), NUMBERS)
def test_a_missing_number_is_named(section: str, key: str) -> None:
    changed = body()
    del changed[section][key]
    assert refusal(changed) == f"`{section}.{key}` is missing"


@pytest.mark.parametrize("key", [*SECTIONS, "scenarios"])
def test_a_missing_section_is_named(key: str) -> None:
    changed = body()
    del changed[key]
    assert refusal(changed) == f"`{key}` is missing"


def test_the_settlement_window_has_a_default() -> None:
    changed = body()
    del changed["settlement_window_s"]
    assert parse(changed).settlement_window_s == 1800.0


@pytest.mark.parametrize(
    "value",
    [
        0.5,
        1,
        None,
        "",
        "NaN",
        "inf",
        "1e3",
        "0x1",
        ".5",
        "1.",
        "+1",
        " 1",
        "1_0",
        "١",
        "1" * 49,
        "1001",
        "-0.5",
        [],
        {},
    ],
)
def test_anything_but_a_plain_decimal_string_in_range_is_refused(value: object) -> None:
    assert refusal(with_number("margin", "mm_factor", value)).startswith("`margin.mm_factor` must")


@pytest.mark.parametrize("value", ["0", "-1"])
def test_a_shock_to_nothing_is_refused(value: str) -> None:
    assert "scenario_spot_down" in refusal(with_number("basis_contingency", "scenario_spot_down", value))
    changed = body()
    changed["scenarios"][0]["spot_shock"] = value
    assert "scenarios[0].spot_shock" in refusal(changed)


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ({"spot_shock": "1", "vol_shock": "Sideways", "dampening": "1"}, "`scenarios[0].vol_shock` must be one of"),
        ({"spot_shock": "1", "vol_shock": 3, "dampening": "1"}, "`scenarios[0].vol_shock` must be one of"),
        ({"spot_shock": "1", "vol_shock": "Up"}, "`scenarios[0].dampening` is missing"),
        ({"spot_shock": "1.1", "vol_shock": "Abs", "dampening": "1"}, "`scenarios[0].spot_shock` must be 1"),
        ("1.1", "`scenarios[0]` must be an object"),
    ],
)
def test_a_wrong_scenario_is_named(scenario: object, message: str) -> None:
    assert message in refusal({**body(), "scenarios": [scenario]})


@pytest.mark.parametrize("scenarios", [[], {}, "1", [{}] * (MAX_SCENARIOS + 1)])
def test_scenarios_are_a_list_of_sensible_length(scenarios: object) -> None:
    assert "`scenarios` must be a list" in refusal({**body(), "scenarios": scenarios})


def test_unknown_keys_are_ignored_with_a_note() -> None:
    changed = body()
    changed["liquidator_fee"] = "0.1"
    changed["margin"]["peg_loss_factor"] = "4"
    changed["scenarios"][2]["colour"] = "red"
    parsed, notes = parse_preset(json.dumps(changed).encode(), "derive-pm2")
    assert parsed == parse_preset((FOLDER / "derive-pm2.json").read_bytes(), "derive-pm2")[0]
    assert notes == [
        "unknown key `margin.peg_loss_factor` is ignored",
        "unknown key `scenarios[2].colour` is ignored",
        "unknown key `liquidator_fee` is ignored",
    ]


def test_a_scenario_that_is_listed_twice_is_noted() -> None:
    changed = body()
    changed["scenarios"].append(changed["scenarios"][0])
    assert parse_preset(json.dumps(changed).encode(), "test")[1] == ["the scenario `1.18:up` is listed twice"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"[1]", "a preset is a JSON object"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"margin": 1' + b"0" * 10_000 + b"}", "not JSON"),
        (b'{"margin": {}, "margin": {}}', "`margin` is given twice"),
        (b'{"source": 1}', "`source` must be text"),
        (b" " * (MAX_BYTES + 1), "at most"),
    ],
)
def test_what_is_no_preset_is_refused(data: bytes, message: str) -> None:
    assert message in refusal(data)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(PresetError):
        parse_preset(data, "test")


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda x: st.lists(x, max_size=3)))
def test_no_value_in_any_place_raises_anything_else(value: object) -> None:
    for section, key in NUMBERS[:3]:
        try:
            preset, _ = parse_preset(json.dumps(with_number(section, key, value)).encode(), "test")
        except PresetError:
            continue
        assert isinstance(value, str), 'only text such as "0" is a number'
        assert preset.name == "test"


# Every number does something: one of these buckets has another margin when it changes.


def bucket(*legs: OptionLeg, days: float, perpetual: float = 0.0) -> Bucket:
    return Bucket(
        cash=1e5,
        underlyings=[
            Underlying(
                name="BTC",
                spot=1e5,
                perpetuals=[Perpetual(amount=perpetual, mark=1e5)],
                expiries=[Expiry(seconds_to_expiry=days * 86400, forward=1.01e5, rate=0.05, legs=legs)],
                collaterals=[HedgingCollateral(value=1e4, weight=0.9, initial_weight=0.85)],
            )
        ],
    )


SHORT_STRADDLE = (call(1e5, -1.0), put(9e4, -1.0))
SMILE = (call(1.5e5, -30.0), put(6e4, 30.0), call(1e5, 1.0))
BUCKETS = [
    bucket(*SHORT_STRADDLE, days=10),
    bucket(*SHORT_STRADDLE, days=200),
    bucket(call(1e5, 1.0), days=0.25, perpetual=1.0),
    bucket(call(1e5, 3.0, 0.1), call(1.2e5, -9.0, 0.1), days=90),
    bucket(call(1.2e5, 2.0), days=60),
    bucket(call(1e3, -1.0), call(1e5, 1.0), days=0.01),
]
SCENARIOS = {
    "min_vol_up_shock": [("1", "Up", "1")],
    "vol_range_down": [("1.18", "Down", "1")],
    **{key: [("1", "Linear", "1")] for key in ("linear_base_cap", "linear_c_base")},
    **{
        key: [("1", "Abs", "1")]
        for key in ("abs_base_cap", "abs_c_base", "min_k_star", "vol_param_static", "vol_param_scale", "width_scale")
    },
    **{key: [("1", "None", "0")] for key in ("scenario_spot_up", "scenario_spot_down", "add_factor", "mult_factor")},
}
OTHER_VALUE = {
    "scenario_spot_up": "1.7",
    "scenario_spot_down": "0.5",
    "mult_factor": "1.7",
    "dte_floor_days": "30",
    "min_k_star": "5",
}


@pytest.mark.parametrize(("section", "key"), NUMBERS)
def test_every_number_of_a_preset_counts(section: str, key: str) -> None:
    changed = body()
    changed["margin"]["short_static_discount"] = "0.97"  # below the cap 1/D, so that the short rates show
    if key in SCENARIOS:
        names = ("spot_shock", "vol_shock", "dampening")
        changed["scenarios"] = [dict(zip(names, row, strict=True)) for row in SCENARIOS[key]]
    cases = [*BUCKETS, bucket(*SMILE, days=20), bucket(*SMILE, days=0.001)]
    before = evaluate_many(parse(changed), cases)
    changed[section][key] = OTHER_VALUE.get(key, "0.9")
    assert evaluate_many(parse(changed), cases) != before


def test_the_settlement_window_counts() -> None:
    cases = [bucket(call(1e5, -1.0), days=0.01)]
    changed = body()
    before = evaluate_many(parse(changed), cases)
    changed["settlement_window_s"] = "600"
    assert evaluate_many(parse(changed), cases) != before


@pytest.mark.parametrize(("key", "value"), [("spot_shock", "1.3"), ("vol_shock", "Down"), ("dampening", "0.5")])
def test_every_part_of_a_scenario_counts(key: str, value: str) -> None:
    changed = {**body(), "scenarios": [{"spot_shock": "1.18", "vol_shock": "Up", "dampening": "1"}]}
    before = evaluate_many(parse(changed), BUCKETS)
    changed["scenarios"][0][key] = value
    assert evaluate_many(parse(changed), BUCKETS) != before
