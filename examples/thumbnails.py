"""A thousand pictures, fifty at a time: each is a step, and none is made twice, whatever dies.

    runtime dev examples.thumbnails
    runtime actors call thumbnails album-1 run '{"pictures": 1000}'
    runtime actors query thumbnails album-1 progress
"""

from __future__ import annotations

from runtime import RetryPolicy, RunView, Workflow, workflow

AT_ONCE = 50


async def thumbnail(album: str, number: int) -> int:
    """Where a picture would be read and made smaller: gives its size."""
    return len(album) * 100 + number % 7


@workflow
async def thumbnails(ctx: Workflow, pictures: int) -> int:
    """Gives the bytes of all of them."""
    done = 0

    async def one(number: int) -> int:
        nonlocal done
        size = await ctx.step(thumbnail, ctx.key, number, returns=int, retry=RetryPolicy(max_attempts=5))
        done += 1
        if done % 100 == 0:
            ctx.publish("done", done)
        return int(size)

    return sum(await ctx.map(one, range(pictures), limit=AT_ONCE))


@thumbnails.query
def progress(run: RunView) -> int:
    """How many are done, in hundreds."""
    return run.get("done", 0, type=int)
