"""Numbers and dates as people read them. Every figure of a card, summary or page is written by one of these functions."""

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perennial.evaluation.metrics import Estimate
    from perennial.training.recipe import Recipe


def figure(value: float) -> str:
    """A number with three significant digits, whole from 100 on, without an exponent.

    >>> figure(0.71234), figure(251.6), figure(12345.6), figure(0.0), figure(-0.00012345), figure(3)
    ('0.712', '252', '12,346', '0', '-0.000123', '3')
    """
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def interval(estimate: "Estimate") -> str:
    """An estimate with its interval, with as many digits as its width deserves: two.

    >>> from perennial.evaluation.metrics import Estimate
    >>> interval(Estimate(value=0.7123, low=0.6931, high=0.7315, standard_error=0.01))
    '0.712 (0.693 to 0.732)'
    >>> interval(Estimate(value=251.2, low=180.4, high=322.0, standard_error=40.0))
    '251 (180 to 322)'
    >>> interval(Estimate(value=0.5, low=0.5, high=0.5, standard_error=0.0))
    '0.5 (0.5 to 0.5)'
    """
    width = estimate.high - estimate.low
    if width <= 0:
        return f"{figure(estimate.value)} ({figure(estimate.low)} to {figure(estimate.high)})"
    decimals = min(8, max(0, 1 - math.floor(math.log10(width))))
    value, low, high = (_rounded(number, decimals) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def or_dash(estimate: "Estimate | None") -> str:
    """An estimate with its interval, or a dash where it is not known.

    >>> or_dash(None)
    '–'
    """
    return "–" if estimate is None else interval(estimate)


def percent_interval(estimate: "Estimate") -> str:
    """A share with its interval in percent.

    >>> from perennial.evaluation.metrics import Estimate
    >>> percent_interval(Estimate(value=0.0123, low=-0.0049, high=0.0251, standard_error=0.01))
    '1.2 % (-0.5 % to 2.5 %)'
    """
    scaled = type(estimate)(
        value=100 * estimate.value,
        low=100 * estimate.low,
        high=100 * estimate.high,
        standard_error=100 * estimate.standard_error,
    )
    value, _, rest = interval(scaled).partition(" (")
    return f"{value} % ({rest.removesuffix(')').replace(' to', ' % to')} %)"


def _rounded(value: float, decimals: int) -> str:
    text = f"{value:,.{decimals}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def percent(share: float) -> str:
    """A share in percent.

    >>> percent(0.2134), percent(0), percent(1), percent(0.000512)
    ('21.3 %', '0 %', '100 %', '0.0512 %')
    """
    return f"{figure(100 * share)} %"


def of_100(share: float) -> str:
    """A share as whole cases in 100, for readers who do not read decimals.

    >>> of_100(0.7123), of_100(0.004)
    ('71 of 100', 'fewer than 1 of 100')
    """
    return "fewer than 1 of 100" if 0 < share < 0.005 else f"{round(100 * share)} of 100"


def count(number: int) -> str:
    """A whole number.

    >>> count(76234)
    '76,234'
    """
    return f"{number:,}"


def day(moment: str) -> str:
    """The day of a moment in ISO 8601.

    >>> day("2013-03-04T00:00:00+00:00")
    '2013-03-04'
    """
    return datetime.fromisoformat(moment).date().isoformat()


def last_day(end: str) -> str:
    """The last day before an exclusive end in ISO 8601.

    >>> last_day("2013-04-01T00:00:00+00:00"), last_day("2013-04-01T06:00:00+00:00")
    ('2013-03-31', '2013-04-01')
    """
    return (datetime.fromisoformat(end) - timedelta(microseconds=1)).date().isoformat()


def kind(name: str) -> str:
    """A candidate's kind in words.

    >>> kind("gradient_boosting")
    'gradient boosting'
    """
    return name.replace("_", " ")


def parameters(recipe: "Recipe") -> str:
    """A recipe's parameters in one line.

    >>> from perennial.training.recipe import Recipe
    >>> parameters(Recipe(kind="logistic", parameters={"c": 0.1, "b": 2000.0}, columns=("x",)))
    'b = 2,000, c = 0.1'
    """
    return ", ".join(f"{name} = {figure(value)}" for name, value in sorted(recipe.parameters.items()))


def comparator(name: str) -> str:
    """What a group was compared with, in words.

    >>> comparator("champion"), comparator("its own label rate")
    ('the champion', 'its own label rate')
    """
    return f"the {name}" if name in ("champion", "baseline") else name


def sentence(text: str) -> str:
    r"""A text of the spec as one line that ends like a sentence.

    >>> sentence("What\n  a day"), sentence("Why?")
    ('What a day.', 'Why?')
    """
    line = " ".join(text.split())
    return line if line.endswith((".", "!", "?")) else f"{line}."
