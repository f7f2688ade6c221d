"""Units of the meter and the smallest units of currencies: the borders of our nano-units.

A unit of the meter is a millionth of the currency, whatever the currency; Stripe prices it in the
currency's smallest unit (cents, yen), and rounds once, on the invoice's line.
"""

from decimal import Decimal
from typing import Final

from core.errors import InputFault
from core.money import NANO, exact_from_nano

UNIT_NANO: Final = 1_000
"""What one unit of the meter stands for."""
UNITS: Final = NANO // UNIT_NANO
"""Of the meter in one unit of the currency."""
WITHOUT_DECIMALS: Final = frozenset(
    {
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "JPY",
        "KMF",
        "KRW",
        "MGA",
        "PYG",
        "RWF",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    }
)
"""Currencies whose smallest unit is the whole one; all others that are taken have cents."""
NOT_TAKEN: Final = frozenset({"BHD", "ISK", "JOD", "KWD", "OMR", "TND", "UGX"})
"""Stripe charges these in steps (of 10 or 100 of what it counts in), to which usage does not keep."""
TAKEN: Final = frozenset(
    (  # noqa: SIM905 - one to a line would be 130 lines
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BIF BMD BND BOB BRL BSD BWP BYN BZD CAD "
        "CDF CHF CLP CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF "
        "GTQ GYD HKD HNL HTG HUF IDR ILS INR JMD JPY KES KGS KHR KMF KRW KYD KZT LAK LBP LKR LRD "
        "LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN "
        "PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB "
        "TJS TOP TRY TTD TWD TZS UAH USD UYU UZS VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW"
    ).split()
)
"""The others that Stripe lists as those it takes; with a code that is in no list it would refuse a price."""


MINOR_MAX: Final = 99_999_999
"""Stripe's largest amount in most currencies with cents: eight digits, 999,999.99."""
MINOR_MAX_ELSEWHERE: Final = 999_999_999_999
"""Twelve digits, the most in any; where a currency has less of them, Stripe says so itself."""
LARGE: Final = frozenset({"COP", "HUF", "IDR", "INR", "LBP"})
"""Currencies with cents in which Stripe takes more than eight digits."""


def require_billable(currency: str) -> str:
    """Return a currency that usage can be invoiced in; InputFault for one that cannot."""
    if currency not in TAKEN | NOT_TAKEN:
        raise InputFault(
            f"{currency!r} is no currency that Stripe takes: write its code of three capital letters,"
            " as EUR (`hopsmeter cluster show` has that of a cluster). Nothing was changed."
        )
    return _in_coins(currency)


def not_billable(currency: str) -> str:
    """Say why usage in a currency cannot be invoiced; nothing where it can."""
    if currency in TAKEN:
        return ""
    if currency in NOT_TAKEN:
        return "Stripe charges it in steps that usage does not keep to"
    return "it is no currency that Stripe takes"


def minor_nano(currency: str) -> int:
    """Return what the smallest unit of a currency stands for in nano-units."""
    return NANO if _in_coins(currency) in WITHOUT_DECIMALS else NANO // 100


def _in_coins(currency: str) -> str:
    if currency in NOT_TAKEN:
        raise InputFault(
            f"{currency} cannot be billed through Stripe: it charges {currency} in steps that usage"
            " does not keep to. Bill these accounts another way. Nothing was changed."
        )
    return currency


def minor_max(currency: str) -> int:
    """Return an amount in the currency's smallest unit above which Stripe surely takes none."""
    return MINOR_MAX_ELSEWHERE if currency in LARGE | WITHOUT_DECIMALS else MINOR_MAX


def unit_price(currency: str) -> Decimal:
    """Return the price of one unit of the meter in the currency's smallest unit, exactly."""
    return Decimal(UNIT_NANO) / Decimal(minor_nano(currency))


def nano_of_minor(minor: int, currency: str) -> int:
    """Return an amount that Stripe names in the currency's smallest unit."""
    return minor * minor_nano(currency)


def minor_of_nano(nano: int, currency: str) -> int:
    """Return an amount in the currency's smallest unit; InputFault where it is finer than that."""
    minor, rest = divmod(nano, minor_nano(currency))
    if rest:
        raise InputFault(
            f"{exact_from_nano(nano)} {currency} is finer than the smallest coin of {currency}, and"
            " cannot be paid; name a rounder amount. Nothing was changed."
        )
    return minor
