"""`/sign-in` and `/sign-out`: how a person with a key comes to the pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from geoanomaly.access.store import SESSION_SECONDS
from web.access import COOKIE
from web.routes.pages import PAGE_POLICY, TEMPLATES
from web.service import Whole

router = APIRouter(include_in_schema=False)

Next = Annotated[str, Query(max_length=2000)]
HOME = "/ui"


@router.get("/sign-in", response_class=HTMLResponse)
def sign_in_page(request: Request, next: Next = HOME) -> Response:
    if request.state.principal is not None:
        return _go(next)
    # A link on another site brings no cookie along; the page, asked for by itself, has it.
    again = request.headers.get("sec-fetch-site") == "cross-site"
    return _page(request, again=again)


@router.post("/sign-in", response_class=HTMLResponse)
def sign_in(
    request: Request, whole: Whole, key: Annotated[str, Form(max_length=200)], next: Next = HOME
) -> Response:
    """A good key becomes a cookie that is not the key, and that no script and no other site has."""
    found = whole.keys.find(key.strip())
    if found is None:
        return _page(request, wrong=True)
    answer = _go(next)
    answer.set_cookie(
        COOKIE, whole.keys.sign_in(found), max_age=int(SESSION_SECONDS), path=_root(request),
        httponly=True, samesite="strict", secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@router.post("/sign-out")
def sign_out(request: Request, whole: Whole) -> Response:
    if cookie := request.cookies.get(COOKIE):
        whole.keys.sign_out(cookie)
    # Pictures that the browser has kept are of no concern to whoever sits there next.
    answer = RedirectResponse("sign-in", 303, headers={"Clear-Site-Data": '"cache"'})
    answer.delete_cookie(COOKIE, path=_root(request))
    return answer


def _page(request: Request, *, wrong: bool = False, again: bool = False) -> Response:
    return TEMPLATES.TemplateResponse(
        request, "sign-in.html", {"wrong": wrong, "again": again},
        status_code=401 if wrong else 200, headers={"Content-Security-Policy": PAGE_POLICY},
    )  # fmt: skip


def _go(next: str) -> RedirectResponse:
    """To a place of ours: behind './' no text is an address of somebody else."""
    return RedirectResponse(f"./{next.lstrip('/')}", 303)


def _root(request: Request) -> str:
    return request.scope.get("root_path") or "/"
