"""Feature flags as sets: switched on and off anywhere, the same everywhere."""

import uuid

from regions import connect, until_all

regions = eu, us, ap = connect()
app = uuid.uuid4().hex[:8]
ENABLED, BETA = f"flags:{app}", f"flags:{app}:beta"

# Two teams switch flags on at once, each in its region.
eu.sadd(ENABLED, "dark-mode", "new-search")
us.sadd(ENABLED, "fast-checkout", "new-search")
ap.sadd(BETA, "user:1", "user:2")

everything = {"dark-mode", "new-search", "fast-checkout"}
until_all(regions, "every flag in every region", lambda region: region.smembers(ENABLED) == everything)
until_all(regions, "the beta users", lambda region: region.smismember(BETA, ["user:1", "user:2"]) == [1, 1])

# Switched off in one region, off in all.
assert us.srem(ENABLED, "new-search") == 1
until_all(regions, "the flag off everywhere", lambda region: not region.sismember(ENABLED, "new-search"))

# A user leaves the beta for the general release: never in both sets, in no region.
assert eu.smove(BETA, f"{BETA}:left", "user:2")


def moved(region):
    with region.pipeline() as seen:
        before, after = seen.sismember(BETA, "user:2").sismember(f"{BETA}:left", "user:2").execute()
    assert before + after == 1, "a move is seen whole"
    return after


until_all(regions, "the move", moved)
print("flags agree:", sorted(ap.smembers(ENABLED)))
