"""Published cases of the margin manager PMRM_2: inputs and results, typed in as facts.

Source: derivexyz/v2-core at 7736900d, test/risk-managers/unit-tests/PMRM_2/portfolio_cases; each case carries the file's
name. Results come from that project's own independent calculation in double precision, to which its contract is held at
1e-8 relative. Left out of `initial` is what this model does not have: the surcharge for unsure price feeds (OracleCont).
The basis figures of cases 44 and 61 are left out too: that calculation omits the loss of some expiries there, the contract
(and this model) does not; neither case turns on it.

FIRST_GENERATION: the same for its predecessor PMRM, test/risk-managers/unit-tests/PMRM/testAndVerifyScenarios.json at
740ef294, with the parameters and the 21 scenarios of scripts/config.sol of that time. That manager values options without
discounting and uses the interest rate of 3 % in its static discount only: here the rate is 0 and `long_rate_add` holds it.
"""

from dataclasses import dataclass, field

from services.engine.portfolio import Bucket, Expiry, HedgingCollateral, OptionLeg, Perpetual, Preset, Underlying
from tests.unit.portfolio.books import call, put
from tests.unit.portfolio.presets import body, parse, preset

_STABLE = 1.00019088635  # the published values are in a settlement coin of this price


def expiry(seconds: int, forward: float, rate: float, *legs: OptionLeg) -> Expiry:
    return Expiry(seconds_to_expiry=seconds, forward=forward, rate=rate, legs=legs)


def collateral(amount: float, price: float, haircut: float, more: float, stable: float = _STABLE) -> HedgingCollateral:
    """more: what the initial haircut adds to the maintenance haircut."""
    return HedgingCollateral(value=amount * price / stable, weight=1 - haircut, initial_weight=1 - haircut - more)


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    preset: Preset
    bucket: Bucket
    maintenance: float
    initial: float | None = None
    worst_scenario: str | None
    scenarios: dict[str, float] = field(default_factory=dict)


def _changed_scenarios(dampening: dict[str, str], without: set[str], **sections: dict[str, str]) -> Preset:
    """The published preset with some dampenings (by spot shock or skew mode) and sections changed."""
    changed = body()
    changed["scenarios"] = [
        {**item, "dampening": dampening.get(key, item["dampening"])}
        for item in changed["scenarios"]
        if (key := item["vol_shock"] if item["vol_shock"] in {"Linear", "Abs"} else item["spot_shock"]) not in without
    ]
    for section, numbers in sections.items():
        changed[section].update(numbers)
    return parse(changed)


CASES = [
    Case(
        name="test_16_risk_cancelling_general_covered_call",
        preset=preset(),
        bucket=Bucket(
            cash=-320000.0,
            underlyings=[
                Underlying(
                    name="BTC",
                    spot=95663.50604855,
                    collaterals=[
                        collateral(0.4, 95569.65243595604, 0.03, 0.015),
                        collateral(2.0, 95663.50604855, 0.02, 0.009999999999999998),
                        collateral(0.8, 95621.88912023272, 0.04, 0.015),
                    ],
                    expiries=[
                        expiry(3214052, 96248.76561417685, 0.21000000000000002, call(120000, -2.0, 0.5654200442695773)),
                        expiry(18938852, 100374.61000117072, 0.29, put(100000, -3.2, 0.5543377511787965)),
                        expiry(11076452, 98198.07812501276, 0.27, put(105000, -12.2, 0.5435708270461805)),
                    ],
                )
            ],
            other_collateral=[
                collateral(100000.0, 0.99984231175, 0.02, 0.030000000000000002),
                collateral(5.0, 2681.6029850999994, 0.15, 0.05000000000000002),
            ],
        ),
        maintenance=-398180.9181436086,
        initial=-470835.93122017954,
        worst_scenario="0.82:up",
        scenarios={
            "1.18:up": 31032.558877656032564119,
            "1.135:down": 147378.919014138751663268,
            "1.045:none": 17478.30872296477900818,
            "1:down": 20782.944723816523037385,
            "1:none": -27074.088735254736093339,
            "0.865:down": -149541.279353748628636822,
            "0.82:up": -310116.193311489128973335,
            "0.34:up": -57607.417290902929380536,
            "0.67:up": -55734.736286291772557888,
            "4:up": 7423.022153023835016938,
            "linear": -28334.182576141647587065,
            "abs": -28361.760928414565569256,
            "basis": -42111.41668820672,
        },
    ),
    Case(
        name="test_22_structures_long_box",
        preset=preset(),
        bucket=Bucket(
            cash=0.0,
            underlyings=[
                Underlying(
                    name="BTC",
                    spot=95663.50604855,
                    expiries=[
                        expiry(
                            18938852,
                            100374.61000117072,
                            0.1,
                            call(100000, 1.0, 0.5543377511787965),
                            call(110000, -1.0, 0.5592157396329432),
                            put(100000, -1.0, 0.5543377511787965),
                            put(110000, 1.0, 0.5592157396329432),
                        )
                    ],
                )
            ],
        ),
        maintenance=8307.131140595613,
        initial=8029.6313880590305,
        worst_scenario="1.18:up",  # all of full weight are equal: the first in the file
        scenarios={"0.34:up": -75.681750691794960062, "2:up": -49.949955456584909541, "basis": 0.0},
    ),
    Case(
        name="test_26_structures_vega_neutral_fly",
        preset=preset(margin={"long_static_discount": "1"}),
        bucket=Bucket(
            cash=0.0,
            underlyings=[
                Underlying(
                    name="ETH",
                    spot=2681.6029,
                    expiries=[
                        expiry(
                            1399652,
                            2687.7468750528033,
                            0.0,
                            call(2700, 0.664453, 0.6398630842802469),
                            put(2700, 0.664453, 0.6398630842802469),
                            call(3100, -1.0, 0.6825566477354112),
                            put(2375, -1.0, 0.6893699644105598),
                        )
                    ],
                )
            ],
        ),
        maintenance=60.52985764119019,
        initial=39.634540994082215,
        worst_scenario="1.18:up",
        scenarios={
            "1.18:up": -50.84452523553984804,
            "1.135:down": 33.720591902914947013,
            "1.045:none": 2.345107083119643221,
            "0.865:none": -4.095480210034168067,
            "3:up": -27.304533131241644384,
            "linear": -0.817212094694184543,
            "abs": -7.973751051394884826,
        },
    ),
    Case(
        name="test_32_perps_perp_hedging",
        preset=preset(),
        bucket=Bucket(
            cash=0.0,
            underlyings=[
                Underlying(
                    name="BTC",
                    spot=100000.0,
                    perpetuals=[Perpetual(amount=-1.0, mark=100000.0)],
                    collaterals=[collateral(1.0, 100000.0, 0.03, 0.015)],
                )
            ],
        ),
        maintenance=95478.73931898379,
        initial=-76506.39347229843 + 169984.73200645158,
        worst_scenario="1.18:up",
        scenarios={"1.18:up": -3.435298548400169238, "0.34:up": 0.687059709679504582, "4:up": -0.687059709679568087},
    ),
    Case(
        name="test_44_skews_abs_as_worst_case_complex",
        preset=_changed_scenarios(
            {"Abs": "3"},
            set(),
            skew_shock={
                "abs_base_cap": "9.5",
                "width_scale": "5",
                "vol_param_static": "4.5",
                "vol_param_scale": "1",
            },
        ),
        bucket=Bucket(
            cash=-145000.0,
            underlyings=[
                Underlying(
                    name="BTC",
                    spot=100000.0,
                    collaterals=[collateral(0.01, 95569.65243595604, 0.03, 0.015)],
                    expiries=[
                        expiry(794852, 95776.67392, 0.15000000000000002, call(170000, 21.0, 2511.421980938193)),
                        expiry(
                            18938852,
                            104711.10395262072,
                            0.29,
                            put(80000, -14.0, 0.563728859721523),
                            call(50000, 22.0, 0.6547430217060337),
                        ),
                        expiry(5633252, 101143.47771765916, 0.22999999999999998, put(60000, 32.0, 0.7173364058978552)),
                    ],
                )
            ],
            other_collateral=[
                collateral(2000.0, 0.99984231175, 0.02, 0.030000000000000002),
                collateral(2.0, 2840.575164415104, 0.25, 0.09999999999999998),
            ],
        ),
        maintenance=1946914.2909302036,
        initial=462567.11559944274 + 1260000.0,
        worst_scenario="abs",
        scenarios={
            "1.18:up": 282887.801925472391303629,
            "0.955:down": -495039.305358514364343137,
            "0.82:up": -875049.321099517284892499,
            "4:up": 117434.587274578196229413,
            "linear": -341785.819596610788721591,
            "abs": -1104524.284605624154210091,
        },
    ),
    Case(
        name="test_55_discounting_negative_rate",
        preset=preset(),
        bucket=Bucket(
            cash=0.0,
            underlyings=[
                Underlying(
                    name="BTC",
                    spot=95663.50604855,
                    expiries=[
                        expiry(
                            18938852,
                            100374.61000117072,
                            -1.2,
                            call(100000, -1.0, 0.5543377511787965),
                            call(110000, 1.0, 0.5592157396329432),
                            put(100000, 1.0, 0.5543377511787965),
                            put(110000, -1.0, 0.5592157396329432),
                        )
                    ],
                )
            ],
        ),
        maintenance=-10000.000000000004,
        initial=-10000.000000000004,
        worst_scenario=None,
    ),
    Case(
        name="test_57_forward_cont_forward_cont_2",
        preset=preset(basis_contingency={"add_factor": "4", "mult_factor": "5"}),
        bucket=Bucket(
            cash=0.0,
            underlyings=[
                Underlying(
                    name="ETH",
                    spot=2681.6029850999994,
                    collaterals=[collateral(0.1, 2681.6029850999994, 0.015, 0.005000000000000001)],
                    expiries=[
                        expiry(
                            794852,
                            2682.9997436016715,
                            0.15000000000000002,
                            put(4000, 0.01, 0.8795543651099665),
                            call(1000, -0.6, 1.225482363870083),
                        ),
                        expiry(
                            18938852,
                            2801.18485249767,
                            0.29,
                            put(5000, 0.01, 0.7065777498085652),
                            call(500, -0.6, 0.9537288427123918),
                        ),
                    ],
                )
            ],
            other_collateral=[
                collateral(0.1, 95663.50604855, 0.25, 0.04999999999999999),
                collateral(300.0, 0.99984231175, 0.02, 0.030000000000000002),
            ],
        ),
        maintenance=4965.05082116883,
        initial=4314.521663887444,
        worst_scenario="1.18:up",
        scenarios={
            "1.18:up": -777.648288542234809029,
            "0.91:down": 56.2479100882486307,
            "1.5:up": -126.075370601749199295,
            "linear": -219.719789256289004697,
            "abs": -222.660726557637985934,
            "basis": -751.997756717363,
        },
    ),
    Case(
        name="test_58_min_shock_min_eval_vol_shock",
        preset=preset(vol_shock={"min_vol_up_shock": "1"}),
        bucket=Bucket(
            cash=0.0,
            underlyings=[
                Underlying(
                    name="ETH",
                    spot=2500.0,
                    expiries=[
                        expiry(794852, 2501.396758501672, 0.15000000000000002, call(2500, -15.0, 0.14679432572503934))
                    ],
                )
            ],
        ),
        maintenance=-5997.725418886978,
        initial=-29954.541758564064 + 22500.0,
        worst_scenario="1.18:up",
        scenarios={
            "1.18:up": -6909.081698385438357946,
            "1:up": -2025.797113477228322154,
            "1:down": 135.298759275934344259,
            "0.865:none": 357.960060143087503093,
            "basis": -745.5316866321173,
        },
    ),
    Case(
        name="test_60_settlement_near_expiry",
        preset=preset(vol_shock={"min_vol_up_shock": "1"}),
        bucket=Bucket(
            cash=0.0,
            underlyings=[
                Underlying(
                    name="ETH",
                    spot=2681.6029850999994,
                    expiries=[expiry(1, 2682.9997436016715, 0.15000000000000002, call(2700, -1.0, 0.6360190705815766))],
                )
            ],
        ),
        maintenance=-8.044808955299999,
        initial=-13.408014925499998,
        worst_scenario=None,
    ),
    Case(
        name="test_61_general_general_test_1",
        preset=_changed_scenarios(
            {"0.34": "0.25", "0.67": "0.5", "1.5": "0.33333333333333333333", "2": "0.2", "3": "0.1", "Linear": "3"},
            {"4"},
            skew_shock={
                "linear_base_cap": "4",
                "width_scale": "3",
                "vol_param_static": "2.5",
                "vol_param_scale": "-0.9",
            },
        ),
        bucket=Bucket(
            cash=-12312324.0 - 123000.0 + 20049.0,  # with the unrealised PnL and funding of the perpetual
            underlyings=[
                Underlying(
                    name="ETH",
                    spot=1234.0,
                    perpetuals=[Perpetual(amount=-123.0, mark=4000.0)],
                    collaterals=[
                        collateral(25.0, 3124.0, 0.03, 0.010000000000000002, 0.56),
                        collateral(100.0, 1234.0, 0.015, 0.005000000000000001, 0.56),
                        collateral(49.0, 4329.0, 0.05, 0.009999999999999995, 0.56),
                    ],
                    expiries=[
                        expiry(
                            794852,
                            1734.0,
                            0.53,
                            call(100, -1.0, 1886.2946496130742),
                            call(5600, -12.0, 1861.087694981364),
                        ),
                        expiry(
                            1399652,
                            2134.0,
                            2.12,
                            put(2300, 52.0, 0.6547716024217306),
                            put(3000, -23.0, 0.7835591639303785),
                            call(3100, -23.0, 0.8006130306474406),
                        ),
                        expiry(
                            3214052,
                            1111.0,
                            0.21000000000000002,
                            call(5000, 3.0, 0.9247166607631531),
                            put(20000, -23.0, 0.9247166607631531),
                        ),
                        expiry(
                            11076452,
                            611.0,
                            0.27,
                            call(10000, -200.0, 0.9622808571129519),
                            put(2000, 1000.0, 0.8795820739028171),
                        ),
                        expiry(
                            18938852,
                            2234.0,
                            0.29,
                            call(3000, -1.0, 347.26350790300535),
                            call(4000, -200.0, 339.8353974095024),
                        ),
                    ],
                )
            ],
            other_collateral=[
                collateral(23.0, 112468.0, 0.25, 0.04999999999999999, 0.56),
                collateral(4.0, 122106.0, 0.35, 0.10000000000000003, 0.56),
                collateral(11111.0, 1.42, 0.12, 0.03, 0.56),
                collateral(45654.0, 1.1, 0.2, 0.04999999999999999, 0.56),
                collateral(99853.0, 1.01, 0.08, 0.020000000000000004, 0.56),
                collateral(45654.0, 2.4, 0.25, 0.09999999999999998, 0.56),
            ],
        ),
        maintenance=-7411351.440588361,
        # initial is left out: the coin's loss of its peg raises im_factor there, which this model leaves to prices
        worst_scenario="linear",
        scenarios={
            "1.18:up": -382576.114860956149641424,
            "1.09:none": -344669.73968952929135412,
            "0.82:up": -150717.369954681489616632,
            "0.34:up": 46364.452941062321770005,
            "1.5:up": -189993.700772652635350823,
            "linear": -721717.338429136201739311,
            "abs": -283725.272080439492128789,
        },
    ),
    Case(
        name="test_66_misc_post_expiry",
        preset=preset(),
        bucket=Bucket(
            cash=0.0,
            underlyings=[
                Underlying(
                    name="ETH",
                    spot=2681.6029850999994,
                    expiries=[expiry(0, 2691.6029850999994, 0.22, call(2500, -1.0, 2511.421980938193))],
                )
            ],
        ),
        maintenance=-199.64779405529939,
        initial=-205.01100002549938,
        worst_scenario=None,
    ),
    Case(
        name="test_70_misc_extreme_static_disc_neg_value",
        preset=preset(margin={"short_static_discount": "3"}),
        bucket=Bucket(
            cash=0.0,
            underlyings=[
                Underlying(
                    name="ETH",
                    spot=2681.6029850999994,
                    expiries=[expiry(11076452, 2745.2490272903915, 0.27, call(2500, -1.0, 0.6545248452671644))],
                )
            ],
        ),
        maintenance=-950.3179594259852,
        initial=-1069.038400215286,
        worst_scenario="1.18:up",
        scenarios={
            "1.18:up": -566.786174095503838544,
            "1:down": 38.954559840203501153,
            "0.34:up": 26.024300590825582447,
            "linear": -45.232200691983109664,
            "abs": -52.023801611604369555,
            "basis": -93.0450807050663,
        },
    ),
]


def _first_generation() -> Preset:
    changed = body("derive-pm1")
    changed["vol_shock"] |= {"vol_range_up": "0.45"}
    changed["margin"] |= {"im_factor": "1.3", "long_rate_mult": "0", "long_rate_add": "0.17"}  # 0.05 + 4 · 0.03
    changed["basis_contingency"] |= {"add_factor": "0.25", "mult_factor": "0.01"}
    changed["other_contingency"] |= {"mm_option_percent": "0.01", "im_option_percent": "0.003"}
    changed["scenarios"] = [item for item in changed["scenarios"] if item["spot_shock"] not in {"1.2", "0.8"}]
    return parse(changed)


def _first(
    *, name: str, worst: str, legs: list[OptionLeg], margins: tuple[float, float], minimum: float, basis: float
) -> Case:
    options = expiry(500400, 1500.8332793109938, 0.0, *legs)
    return Case(
        name=name,
        preset=_first_generation(),
        bucket=Bucket(cash=0.0, underlyings=[Underlying(name="ETH", spot=1500.0, expiries=[options])]),
        maintenance=margins[0],
        initial=margins[1],
        worst_scenario=worst,
        scenarios={worst: minimum, "basis": basis},
    )


FIRST_GENERATION = [
    _first(
        name="Test1",
        worst="1.15:up",
        legs=[call(1500, -1.0, 1.047884494084986240)],
        margins=(-301.768534860364300288, -368.487619761755586560),
        minimum=-207.396949671304364032,
        basis=-11.275911269415124992,
    ),
    _first(
        name="Test2",
        worst="0.85:down",
        legs=[call(1200, 1.0, 1.138939398828297472)],
        margins=(81.329742280758886400, 14.004464630197813248),
        minimum=-224.417592168536834048,
        basis=-17.381590857176696832,
    ),
    _first(
        name="Test3",
        worst="0.85:up",
        legs=[call(500, 1.0, 1.653152366370104064), call(900, -1.0, 1.328657463897111040)],
        margins=(347.943066330574028800, 332.344238458856734720),
        minimum=-36.996092905724313600,
        basis=-0.027442547681155032,
    ),
    _first(
        name="Test6",
        worst="0.85:down",
        legs=[call(1500, 1.0, 1.047884494084986240)],
        margins=(0.230453187667771392, -23.511886412749881344),
        minimum=-79.141132001392164864,
        basis=-8.477300890208880640,
    ),
]
