"""RFC 7807: every error that leaves the service."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

CONTENT_TYPE = "application/problem+json"
_TYPE_BASE = "https://kubernaut.ai/problems/"
_KINDS = {404: ("not-found", "Not found"), 405: ("method-not-allowed", "Method not allowed")}


class Problem(Exception):
    """An error that knows its status; `kind` is the last part of its type and stays the same."""

    def __init__(
        self, status: int, kind: str, title: str, detail: str, errors: list[dict[str, str]] | None = None
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.kind = kind
        self.detail = detail
        self.body: dict[str, object] = {"type": _TYPE_BASE + kind, "title": title, "status": status, "detail": detail}
        if errors:
            self.body["errors"] = errors


def install(app: FastAPI, *, plain: bool = False) -> None:
    """Make all errors of an application problems; `plain` is the fault of that name."""

    def answer(request: Request, problem: Problem, headers: dict[str, str] | None = None) -> Response:
        if plain:
            return PlainTextResponse(str(problem), problem.status)
        body = problem.body | {"instance": request.url.path}
        return JSONResponse(body, problem.status, headers=headers, media_type=CONTENT_TYPE)

    @app.exception_handler(Problem)
    async def known(request: Request, error: Problem) -> Response:
        return answer(request, error)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        kind, title = _KINDS.get(error.status_code, ("http-error", "Error"))
        headers = dict(error.headers) if error.headers else None
        return answer(request, Problem(error.status_code, kind, title, f"{request.method} {request.url.path}"), headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request, _invalid(error))

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        return answer(request, Problem(500, "internal-error", "Internal error", type(error).__name__))


def _invalid(error: RequestValidationError) -> Problem:
    found = error.errors()
    if found[0]["type"] == "json_invalid":
        return Problem(400, "malformed-json", "Malformed JSON", str(found[0].get("ctx", {}).get("error", "")))
    errors = [{"field": ".".join(map(str, one["loc"][1:])) or "body", "message": one["msg"]} for one in found]
    first = f"{errors[0]['field']}: {errors[0]['message']}"
    detail = first if len(errors) == 1 else f"{len(errors)} fields are not valid, first {first}"
    return Problem(400, "validation-error", "Validation failed", detail, errors=errors)
