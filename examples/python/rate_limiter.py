"""Rate limits: exact within a region; all regions count together as soon as they have heard of each other."""

import uuid
from concurrent.futures import ThreadPoolExecutor

from regions import connect, until, until_all

LIMIT = 10
TRIES = 25  # in each region

regions = eu, us, ap = connect()
user = uuid.uuid4().hex[:8]

COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then
    redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return count
"""
count = eu.register_script(COUNT)


def allowed(client, key, seconds):
    """In a pipeline: the window begins anew with every request."""
    with client.pipeline() as transaction:
        transaction.incr(key)
        transaction.expire(key, seconds)
        return transaction.execute()[0] <= LIMIT


def allowed_script(client, key, seconds):
    """In a script: the window begins with the first request."""
    return count(keys=[key], args=[seconds], client=client) <= LIMIT


for ask in (allowed, allowed_script):
    # Within a region, no more than the limit pass, however many clients ask at once.
    key = f"limit:{user}:{ask.__name__}"
    with ThreadPoolExecutor(max_workers=8) as clients:
        passed = sum(clients.map(lambda _: ask(eu, key, 60), range(TRIES)))
    assert passed == LIMIT, f"{passed} requests passed"

    # Other regions go by what they have heard of: at worst each lets its own share pass, never more.
    for region in (us, ap):
        passed = sum(ask(region, key, 60) for _ in range(TRIES))
        assert passed <= LIMIT, f"{passed} requests passed"

    total = str(TRIES * len(regions))
    until_all(regions, "every request counted once", lambda region: region.get(key) == total)
    assert not any(ask(region, key, 60) for region in regions), "over the limit everywhere"
    assert all(0 < region.ttl(key) <= 60 for region in regions), "and not for ever"

    # After the window, in every region, requests pass again.
    key = f"limit:{user}:{ask.__name__}:short"
    for region in regions:
        for _ in range(TRIES):
            ask(region, key, 1)
    until("the window is over in all regions", lambda: not any(region.exists(key) for region in regions))
    assert all(ask(region, key, 60) for region in regions), "requests pass again"
print(f"no region let more than {LIMIT} requests pass")
