"""The OpenAPI document, made of the table of routes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import tinykv
from tinykv.schedule.routes import Route
from tinykv.schedule.schemas import record, text

#: What a refusal looks like.
REFUSAL: Final = record(
    {
        "error": text(4096, description="why, and what to do"),
        "leader": text(512, description="the URL of the member to ask"),
    },
    optional=("leader",),
)

_MEANINGS: Final = {
    307: "another member leads: ask the one at Location, which the body names too",
    400: "the question isn't as described here; nothing was changed",
    401: "the token lacks or is wrong",
    403: "the question seems to come from a web page",
    404: "what was asked for isn't there",
    409: "it can't be done as things are; nothing was changed",
    413: "the body is too long",
    415: "the body isn't of the type application/json",
    429: "too many questions from this address",
    503: "it can't be done now, and nothing was changed: ask again",
    504: "nobody can tell whether it was done",
}


def document(routes: Iterable[Route], *, token: bool) -> dict[str, Any]:
    """
    Make the document.

    @param token: Whether a token is demanded.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "TinySchedule",
            "version": tinykv.__version__,
            "description": "The scheduler of a TinyKV cluster. Keys are hexadecimal.",
        },
        "paths": paths,
    }
    if token:
        made["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
        made["security"] = [{"token": []}]
    return made


def _operation(route: Route) -> dict[str, Any]:
    responses = {"200": {"description": "done", "content": _content(route.result)}}
    codes = {400, 401, 403, 429, 503, *route.refusals}
    if not route.anywhere:
        codes |= {307, 504}
    if route.body is not None:
        codes |= {413, 415}
    for code in sorted(codes):
        headers = {}
        if code == 307:
            headers = {"headers": {"Location": {"schema": {"type": "string"}, "required": True}}}
        responses[str(code)] = {"description": _MEANINGS[code], "content": _content(REFUSAL), **headers}
    made: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.about,
        "tags": [route.tag],
        "responses": responses,
    }
    parameters = [
        {"name": name, "in": place, "required": place == "path" or name in route.required_query, "schema": schema}
        for place, schemas in (("path", route.path_parameters), ("query", route.query))
        for name, schema in schemas.items()
    ]
    if parameters:
        made["parameters"] = parameters
    if route.body is not None:
        made["requestBody"] = {"required": True, "content": _content(route.body)}
    return made


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
