"""JSONPath in Jayway's dialect."""

from __future__ import annotations

from typing import Any

import pytest

from triptych.localcloud.stepfunctions.jsonpath import InvalidPath, PathNotFound, compile_path

STORE = {
    "book": [
        {"title": "A", "price": 5, "tags": ["x", "y"]},
        {"title": "B", "price": 15.5, "isbn": "1"},
        {"title": "C", "price": 25, "isbn": "2"},
    ],
    "bicycle": {"price": 20},
    "odd key": 1,
    "limit": 15,
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$", STORE),
        ("$.bicycle.price", 20),
        ("$['bicycle']['price']", 20),
        ('$["odd key"]', 1),
        ("$.book[0].title", "A"),
        ("$.book[-1].title", "C"),
        ("$.book[*].title", ["A", "B", "C"]),
        ("$.book[0,2].title", ["A", "C"]),
        ("$.book[1:].title", ["B", "C"]),
        ("$.book[:1].title", ["A"]),
        ("$.book[-2:].title", ["B", "C"]),
        ("$.book[0:2].title", ["A", "B"]),
        ("$.book[?(@.isbn)].title", ["B", "C"]),
        ("$.book[?(!@.isbn)].title", ["A"]),
        ("$.book[?(@.price < 20)].title", ["A", "B"]),
        ("$.book[?(@.price > $.limit)].title", ["B", "C"]),
        ("$.book[?(@.price > 10 && @.isbn == '2')].title", ["C"]),
        ("$.book[?(@.title == 'A' || @.title == 'C')].title", ["A", "C"]),
        ("$.book[?(@.title =~ /[ab]/i)].title", ["A", "B"]),
        ("$.book[?(@.title in ['A','B'])].title", ["A", "B"]),
        ("$.book[?(@.title nin ['A','B'])].title", ["C"]),
        ("$.book[?(@.tags size 2)].title", ["A"]),
        ("$.book[?(@.tags contains 'x')].title", ["A"]),
        ("$..price", [5, 15.5, 25, 20]),
        ("$..book[0].title", ["A"]),
        ("$.*.price", [20]),
        ("$.book[0]['title','price']", [{"title": "A", "price": 5}]),
        ("$.nothing[*]", []),
        ("$.nothing.more[1:3].x", []),
        ("$.book.length()", 3),
        ("$.book[*].price.max()", 25.0),
    ],
)
def test_finds(path: str, expected: Any) -> None:
    assert compile_path(path).find(STORE) == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("$.nothing", "No results for path: $['nothing']"),
        ("$.nothing.more", "Missing property in path $['nothing']"),
        ("$.book[7]", "No results for path: $['book'][7]"),
        ("$.bicycle.price.x", "Expected to find an object with property ['x'] in path $['bicycle']['price']"),
    ],
)
def test_a_definite_path_that_leads_nowhere_fails(path: str, message: str) -> None:
    with pytest.raises(PathNotFound) as caught:
        compile_path(path).find(STORE)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "path", ["", "x", "$.", "$.a[", "$.a[]", "$['a", "$.a[?(@.b ~ 1)]", "$ .a", "$.a b(", "$[a]"]
)
def test_refuses(path: str) -> None:
    with pytest.raises(InvalidPath):
        compile_path(path)


@pytest.mark.parametrize(
    ("path", "root", "variable"),
    [("$.a", "input", None), ("$$.Execution.Id", "context", None), ("$name.a", "variable", "name")],
)
def test_roots(path: str, root: str, variable: str | None) -> None:
    compiled = compile_path(path)
    assert (compiled.root, compiled.variable) == (root, variable)
