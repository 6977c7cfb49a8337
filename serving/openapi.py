"""What the schema document says about errors."""

from __future__ import annotations

from litestar.openapi.datastructures import ResponseSpec

from serving.problems import MEDIA_TYPE, problem
from serving.wire import Problem


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Problem documents as the answers of some statuses; with a key it may be 429, with a body 408."""
    more = [429] * (401 in statuses) + [408] * (413 in statuses)
    return {
        status: ResponseSpec(
            data_container=Problem,
            media_type=MEDIA_TYPE,
            description=problem(status, "").title,
            generate_examples=False,
        )
        for status in sorted({*statuses, *more})
    }
