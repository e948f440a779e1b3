"""Parcels and their scans, through the API."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx


def test_a_parcel_is_found_as_it_was_registered(api: httpx.Client, parcel: str) -> None:
    found = {"code": parcel, "recipient": "Ada", "state": "registered", "scans": []}
    assert api.get(f"/parcels/{parcel}").json() == found


def test_a_code_is_given_once(api: httpx.Client, parcel: str) -> None:
    assert api.post("/parcels", json={"code": parcel, "recipient": "Bob"}).status_code == 409
    assert api.get(f"/parcels/{parcel}").json()["recipient"] == "Ada"


def test_an_unknown_parcel_is_not_found(api: httpx.Client) -> None:
    assert api.get("/parcels/NONE").status_code == 404
    assert api.post("/parcels/NONE/scans", json={"place": "Leeds", "state": "in_transit"}).status_code == 404


def test_scans_are_kept_in_order(api: httpx.Client, parcel: str, scan: Callable[..., int]) -> None:
    assert [scan("in_transit", "Leeds"), scan("in_transit", "York"), scan("out_for_delivery", "Hull")] == [201] * 3
    found = api.get(f"/parcels/{parcel}").json()
    assert found["state"] == "out_for_delivery"
    assert [one["place"] for one in found["scans"]] == ["Leeds", "York", "Hull"]


def test_a_state_that_is_none_is_refused(api: httpx.Client, parcel: str, scan: Callable[..., int]) -> None:
    assert scan("eaten") == 422
    assert api.get(f"/parcels/{parcel}").json()["scans"] == []


def test_what_was_delivered_moves_no_more(api: httpx.Client, parcel: str, scan: Callable[..., int]) -> None:
    assert scan("delivered", "Hull") == 201
    assert scan("in_transit", "Leeds") == 409
    assert api.get(f"/parcels/{parcel}").json()["state"] == "delivered"


def test_of_eight_who_deliver_at_once_one_does(api: httpx.Client, parcel: str, scan: Callable[..., int]) -> None:
    with ThreadPoolExecutor(8) as couriers:
        answers = sorted(couriers.map(lambda _: scan("delivered"), range(8)))
    assert answers == [201] + [409] * 7
    assert len(api.get(f"/parcels/{parcel}").json()["scans"]) == 1
