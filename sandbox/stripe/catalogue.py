"""Products and prices: what is sold, and for how much a unit."""

from decimal import Decimal

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError
from sandbox.stripe.form import (
    Form,
    boolean,
    decimal,
    hash_of,
    integer,
    list_of,
    merge_metadata,
    one_of,
    required,
    word,
)
from sandbox.stripe.page import page, within
from sandbox.stripe.route import PAGING, Call, Route, owned

PLACES_MAX = 12
PRODUCT = "name description active metadata unit_label statement_descriptor"
PRICE = (
    "currency product unit_amount unit_amount_decimal recurring lookup_key transfer_lookup_key"
    " nickname active metadata billing_scheme tax_behavior"
)
INTERVALS = ("day", "week", "month", "year")


class Catalogue:
    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/products", self._create_product, f"id {PRODUCT}"),
            Route("GET", "/v1/products", self._list_products, f"{PAGING} active ids created"),
            Route("GET", "/v1/products/{id}", self._product),
            Route("POST", "/v1/products/{id}", self._update_product, PRODUCT),
            Route("POST", "/v1/prices", self._create_price, PRICE),
            Route(
                "GET",
                "/v1/prices",
                self._list_prices,
                f"{PAGING} active product lookup_keys currency recurring type created",
            ),
            Route("GET", "/v1/prices/{id}", self._price),
            Route(
                "POST",
                "/v1/prices/{id}",
                self._update_price,
                "active nickname lookup_key transfer_lookup_key metadata",
            ),
        ]

    def add_price(self, form: Form) -> Thing:
        """Make a price as `POST /v1/prices` does; checkout makes its own from `price_data`."""
        account = self._account
        product = account.named("product", required(form, "product"), "product")
        exact, whole = _unit_amount(form)
        recurring = self._recurring(hash_of(form, "recurring")) if form.get("recurring") else None
        price: Thing = {
            "id": account.new_id("price"),
            "object": "price",
            "active": boolean(form, "active", True),
            "billing_scheme": "per_unit",
            "created": account.stamp,
            "currency": word(form, "currency").lower(),
            "custom_unit_amount": None,
            "livemode": False,
            "lookup_key": None,
            "metadata": merge_metadata({}, form),
            "nickname": form.get("nickname") or None,
            "product": product["id"],
            "recurring": recurring,
            "tax_behavior": form.get("tax_behavior", "unspecified"),
            "tiers_mode": None,
            "transform_quantity": None,
            "type": "recurring" if recurring else "one_time",
            "unit_amount": whole,
            "unit_amount_decimal": exact,
        }
        self._set_lookup_key(price, form)
        account.add("price", price)
        account.emit("price.created", price, None)
        return price

    def add_product(self, form: Form) -> Thing:
        """Make a product as `POST /v1/products` does."""
        account = self._account
        name = form.get("id") or account.new_id("prod", 14)
        if name in account.tables["product"]:
            raise StripeError(
                f"Product already exists: '{name}'", code="resource_already_exists", param="id"
            )
        product: Thing = {
            "id": name,
            "object": "product",
            "active": boolean(form, "active", True),
            "created": account.stamp,
            "default_price": None,
            "description": form.get("description") or None,
            "images": [],
            "livemode": False,
            "marketing_features": [],
            "metadata": merge_metadata({}, form),
            "name": required(form, "name"),
            "package_dimensions": None,
            "shippable": None,
            "statement_descriptor": form.get("statement_descriptor") or None,
            "tax_code": None,
            "type": "service",
            "unit_label": form.get("unit_label") or None,
            "updated": account.stamp,
            "url": None,
        }
        account.add("product", product)
        account.emit("product.created", product, None)
        return product

    def _create_product(self, call: Call) -> Thing:
        return self.add_product(call.form)

    def _list_products(self, call: Call) -> Thing:
        ids = list_of(call.form, "ids")
        found = [
            product
            for product in _active(call.form, self._account.all("product"))
            if (not ids or product["id"] in ids)
            and within(call.form, "created", product["created"])
        ]
        return page(self._account, call, found)

    def _product(self, call: Call) -> Thing:
        return self._account.get("product", call.id)

    def _update_product(self, call: Call) -> Thing:
        product, form = self._product(call), call.form
        draft: Thing = {
            name: form[name] or None
            for name in ("name", "description", "unit_label", "statement_descriptor")
            if name in form
        }
        draft["active"] = boolean(form, "active", product["active"])
        draft["metadata"] = merge_metadata(product["metadata"], form)
        draft["updated"] = self._account.stamp
        return self._account.change(product, "product.updated", **draft)

    def _recurring(self, form: Form) -> Thing:
        usage = one_of(form, "usage_type", ("licensed", "metered"), "licensed")
        meter = form.get("meter") or None
        if meter:
            self._account.named("billing.meter", meter, "recurring[meter]")
        if usage == "metered" and not meter:
            raise StripeError(
                "Prices with `recurring[usage_type]=metered` must be backed by a meter."
                " Pass `recurring[meter]`.",
                param="recurring[meter]",
            )
        interval = one_of(form, "interval", INTERVALS)
        return {
            "interval": required({"recurring[interval]": interval}, "recurring[interval]"),
            "interval_count": integer(form, "interval_count", 1),
            "meter": meter,
            "trial_period_days": None,
            "usage_type": usage,
        }

    def _create_price(self, call: Call) -> Thing:
        return self.add_price(call.form)

    def _list_prices(self, call: Call) -> Thing:
        form = call.form
        keys = list_of(form, "lookup_keys")
        wanted = owned(
            product=form.get("product"), currency=form.get("currency"), type=form.get("type")
        )
        recurring = owned(**hash_of(form, "recurring"))
        found = [
            price
            for price in _active(form, self._account.all("price"))
            if wanted(price)
            and recurring(price["recurring"] or {})
            and (not keys or price["lookup_key"] in keys)
            and within(form, "created", price["created"])
        ]
        return page(self._account, call, found)

    def _price(self, call: Call) -> Thing:
        return self._account.get("price", call.id)

    def _update_price(self, call: Call) -> Thing:
        price, form = self._price(call), call.form
        self._set_lookup_key(price, form)
        draft: Thing = {"nickname": form["nickname"] or None} if "nickname" in form else {}
        draft["active"] = boolean(form, "active", price["active"])
        draft["metadata"] = merge_metadata(price["metadata"], form)
        return self._account.change(price, "price.updated", **draft)

    def _set_lookup_key(self, price: Thing, form: Form) -> None:
        key = form.get("lookup_key")
        if key is None:
            return
        holder = next(
            (p for p in self._account.all("price") if key and p["lookup_key"] == key), None
        )
        if holder and holder is not price:
            if not boolean(form, "transfer_lookup_key"):
                raise StripeError(
                    f"A price (`{holder['id']}`) already uses that lookup key.", param="lookup_key"
                )
            holder["lookup_key"] = None
        price["lookup_key"] = key or None


def _active(form: Form, things: list[Thing]) -> list[Thing]:
    if form.get("active") in (None, ""):
        return things
    return [thing for thing in things if thing["active"] == boolean(form, "active")]


def _unit_amount(form: Form) -> tuple[str, int | None]:
    """Return cents a unit, exact as text, and as an integer where they are whole."""
    exact = decimal(form, "unit_amount_decimal")
    if exact is None:
        cents = integer(form, "unit_amount")
        if cents is None:
            raise StripeError(
                "You must pass one of `unit_amount` or `unit_amount_decimal`.",
                code="parameter_missing",
                param="unit_amount",
            )
        exact = Decimal(cents)
    if exact < 0 or -int(exact.normalize().as_tuple().exponent) > PLACES_MAX:
        raise StripeError(
            f"Invalid decimal: {exact}; at most {PLACES_MAX} decimal places, and not negative.",
            param="unit_amount_decimal",
        )
    whole = int(exact) if exact == exact.to_integral_value() else None
    return f"{exact.normalize():f}", whole
