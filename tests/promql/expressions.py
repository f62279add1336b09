"""Random PromQL: expressions of every construct, typed well for most of them."""

import random

RANGES = ("10s", "20s", "40s", "1m", "90s", "2m", "5m")
STEPS = ("10s", "30s", "1m")
NUMBERS = ("0", "1", "2", "0.5", "-1", "3.7", "100", "1e3", "Inf", "-Inf", "NaN", "0x1F")
METRICS = ("c_total", "d_total", "g", "h", "odd", "lat_bucket", "info", "none")
LABELS = ("instance", "job", "code", "le", "missing")
MATCHERS = (
    'instance="a"', 'instance!="a"', 'code=~"2..|404"', 'code!~"4.*"', 'code=""', 'code!=""', 'job=~"x|y"',
    'instance=~".*"', 'missing=""', 'job=~"^x$"', 'code=~"(?i)5.."', 'instance=~"[ab]"',
)  # fmt: skip
OVER_TIME = (
    "rate", "increase", "delta", "irate", "idelta", "deriv", "changes", "resets", "avg_over_time", "sum_over_time",
    "min_over_time", "max_over_time", "count_over_time", "stddev_over_time", "stdvar_over_time", "last_over_time",
    "present_over_time", "absent_over_time",
)  # fmt: skip
PLAIN = (
    "abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "sort", "sort_desc", "timestamp", "absent",
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "deg", "rad",
    "minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year",
)  # fmt: skip
AGGREGATES = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
ARITHMETIC = ("+", "-", "*", "/", "%", "^")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
SETS = ("and", "or", "unless")


class Expressions:
    """Expressions made by one random source."""

    def __init__(self, chance: random.Random):
        self.chance = chance

    def any(self):
        """Give an expression that yields a vector, or seldom a scalar."""
        return self.scalar(2) if self.chance.random() < 0.06 else self.vector(self.chance.choice((1, 2, 2, 3)))

    def selector(self):
        chance = self.chance
        chosen = chance.sample(MATCHERS, chance.choice((0, 0, 0, 1, 1, 2)))
        return chance.choice(METRICS[:6] * 3 + METRICS) + ("{" + ",".join(chosen) + "}" if chosen else "")

    def moved(self):
        chance = self.chance
        pick = chance.random()
        if pick < 0.8:
            return ""
        if pick < 0.9:
            return " offset " + chance.choice(("10s", "1m", "5m", "-20s", "-1m"))
        return chance.choice((" @ start()", " @ end()", " @ end() offset 30s", " @ start() offset -1m"))

    def matrix(self, depth):
        chance = self.chance
        if depth > 1 and chance.random() < 0.2:
            inner = self.vector(depth - 1, inner=True)
            return f"({inner})[{chance.choice(RANGES)}:{chance.choice(STEPS)}]{self.moved()}"
        return f"{self.selector()}[{chance.choice(RANGES)}]{self.moved()}"

    def scalar(self, depth):
        chance = self.chance
        pick = chance.random()
        if depth < 1 or pick < 0.6:
            return chance.choice(NUMBERS)
        if pick < 0.7:
            return chance.choice(("time()", "pi()"))
        if pick < 0.85:
            return f"scalar({self.vector(depth - 1, inner=True)})"
        compare = chance.random() < 0.3
        sign = chance.choice(COMPARISONS) + " bool" if compare else chance.choice(ARITHMETIC)
        return f"({self.scalar(depth - 1)} {sign} {self.scalar(depth - 1)})"

    def grouping(self):
        chance = self.chance
        if chance.random() < 0.3:
            return ""
        names = ", ".join(chance.sample(LABELS, chance.randint(0, 3)))
        return f" {chance.choice(('by', 'by', 'without'))} ({names})"

    def vector(self, depth, *, inner=False):
        """Give an instant vector's expression; within a subquery none has a subquery of its own."""
        chance = self.chance
        if depth < 1:
            return self.selector() + self.moved()
        make = chance.choice(
            (
                self.over_time,
                self.over_time,
                self.plain,
                self.aggregate,
                self.aggregate,
                self.binary,
                self.binary,
                self.with_scalar,
                self.with_scalar,
                self.special,
                self.selected,
            )
        )
        return make(1 if inner and make == self.over_time else depth)

    def selected(self, _depth):
        return self.selector() + self.moved()

    def over_time(self, depth):
        chance = self.chance
        pick = chance.random()
        if pick < 0.06:
            return f"quantile_over_time({chance.choice(('0', '0.5', '0.9', '1', '-1', '2'))}, {self.matrix(depth)})"
        if pick < 0.12:
            return f"predict_linear({self.matrix(depth)}, {chance.choice(('0', '60', '-30'))})"
        return f"{chance.choice(OVER_TIME)}({self.matrix(depth)})"

    def plain(self, depth):
        return f"{self.chance.choice(PLAIN)}({self.vector(depth - 1)})"

    def aggregate(self, depth):
        chance, grouping, of = self.chance, self.grouping(), self.vector(depth - 1)
        pick = chance.random()
        if pick < 0.7:
            return f"{chance.choice(AGGREGATES)}{grouping} ({of})"
        if pick < 0.82:
            return f"{chance.choice(('topk', 'bottomk'))}{grouping} ({chance.choice(('1', '2', '5', '0'))}, {of})"
        if pick < 0.92:
            return f"quantile{grouping} ({chance.choice(('0', '0.3', '0.5', '0.99', '1', '1.5', '-0.1', 'NaN'))}, {of})"
        return f'count_values{grouping} ("v", {of})'

    def binary(self, depth):
        chance, left, right = self.chance, self.vector(depth - 1), self.vector(depth - 1)
        pick = chance.random()
        if pick < 0.3:
            on = f" {chance.choice(('on', 'ignoring'))}({', '.join(chance.sample(LABELS, 2))})"
            return f"({left} {chance.choice(SETS)}{chance.choice(('', on))} {right})"
        sign = chance.choice(ARITHMETIC) if chance.random() < 0.6 else chance.choice(COMPARISONS)
        if sign in COMPARISONS and chance.random() < 0.4:
            sign += " bool"
        if pick < 0.6:
            same = self.selector()
            wrap = chance.choice(("{}", "rate({}[1m])", "abs({})", "max_over_time({}[90s])"))
            return f"({wrap.format(same)} {sign} {same})"
        if pick < 0.75:
            group = chance.choice(("", "group_left", "group_left(version)"))
            return f"({left} {sign} on(instance) {group} info)"
        if pick < 0.85:
            return f"({left} {sign} ignoring(code, le) group_left sum without (code, le) ({right}))"
        if pick < 0.95:
            on = f" on({', '.join(chance.sample(LABELS, chance.randint(0, 2)))})"
            by = on.removeprefix(" on")
            return f"(sum by {by} ({left}) {sign}{on} max by {by} ({right}))"
        return f"({left} {sign} {right})"

    def with_scalar(self, depth):
        chance, of, number = self.chance, self.vector(depth - 1), self.scalar(depth - 1)
        if chance.random() < 0.15:
            return f"-{of}" if not of.startswith(("-", "(")) else f"-({of})"
        sign = chance.choice(ARITHMETIC) if chance.random() < 0.6 else chance.choice(COMPARISONS)
        if sign in COMPARISONS and chance.random() < 0.4:
            sign += " bool"
        left, right = (of, number) if chance.random() < 0.7 else (number, of)
        return f"({left} {sign} {right})"

    def special(self, depth):
        chance, of = self.chance, self.vector(depth - 1)
        return chance.choice(
            (
                lambda: f"histogram_quantile({chance.choice(('0.5', '0.9', '0', '1', '-1', '2'))}, {self.buckets()})",
                lambda: f"clamp({of}, {chance.choice(('-1', '0', '5'))}, {chance.choice(('3', '10', '-5'))})",
                lambda: f"clamp_min({of}, {self.scalar(0)})",
                lambda: f"clamp_max({of}, {self.scalar(0)})",
                lambda: f"round({of}{chance.choice(('', ', 5', ', 0.1'))})",
                lambda: f'label_replace({of}, "{chance.choice(("new", "code", "job"))}", "$1-x", "instance", "(.*)")',
                lambda: f'label_replace({of}, "job", "", "code", "{chance.choice(("2.*", "(4)(..)", ".*"))}")',
                lambda: f'label_join({of}, "{chance.choice(("new", "code"))}", "-", "instance", "job", "missing")',
                lambda: f"vector({self.scalar(depth - 1)})",
                lambda: f"(abs({of}) atan2 {self.scalar(0)})",
                lambda: f"absent({of})",
                lambda: f"timestamp({self.selector()}{self.moved()})",
                lambda: f"histogram_quantile(0.9, {of})",
            )
        )()

    def buckets(self):
        return self.chance.choice(
            ("rate(lat_bucket[1m])", "sum by (le) (rate(lat_bucket[2m]))", "lat_bucket", "sum by (le) (lat_bucket)",
             'lat_bucket{le!="+Inf"}', "increase(lat_bucket[5m])")
        )  # fmt: skip
