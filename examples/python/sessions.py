"""Sessions as hashes with a sliding time to live: alive in every region for as long as one of them uses them."""

import os
import uuid

from regions import connect, until, until_all

# For how long a session lives that nobody uses.
SECONDS = int(os.environ.get("SECONDS", "3"))

regions = eu, us, ap = connect()

READ_AND_SLIDE = """
local session = redis.call('HGETALL', KEYS[1])
if #session > 0 then
    redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return session
"""
slide = eu.register_script(READ_AND_SLIDE)


def key(session):
    return f"session:{session}"


def log_in(client, user):
    session = uuid.uuid4().hex
    with client.pipeline() as transaction:
        transaction.hset(key(session), mapping={"user": user, "pages": 0})
        transaction.expire(key(session), SECONDS)
        transaction.execute()
    return session


def use(client, session):
    """Reads a session and slides its deadline, in two plain commands."""
    data = client.hgetall(key(session))
    if data:
        client.expire(key(session), SECONDS)
    return data


def use_script(client, session):
    """The same in one script."""
    return slide(keys=[key(session)], args=[SECONDS], client=client)


ann, bob, eve = log_in(eu, "ann"), log_in(us, "bob"), log_in(eu, "eve")


def known(client, session):
    # Everyone who waits for a page goes on clicking.
    assert use(eu, ann) and use_script(us, bob), "a session died while it was used"
    return client.hget(key(session), "user")


until("ann known in every region", lambda: all(known(region, ann) for region in regions))
until("bob known in every region", lambda: all(known(region, bob) for region in regions))

# Ann and Bob click on, each in one region, until the time of Eve, who does not, has passed everywhere.
clicks = 0


def eve_is_gone():
    global clicks
    assert use(eu, ann), "ann's session died in eu"
    assert use_script(us, bob), "bob's session died in us"
    eu.hincrby(key(ann), "pages", 1)
    clicks += 1
    for region in regions:
        assert region.hget(key(ann), "user") == "ann", "ann's session died in a region that only reads it"
        assert region.hget(key(bob), "user") == "bob", "bob's session died in a region that only reads it"
    return not any(region.exists(key(eve)) for region in regions)


until("eve's session ends, the others live", eve_is_gone)

# Ann travels: the next region goes on where the last one was.
until("ann's clicks in ap", lambda: use(eu, ann) and use(ap, ann).get("pages") == str(clicks))
for region in regions:
    assert 0 < region.pttl(key(ann)) <= SECONDS * 1000

# Logging out anywhere ends it everywhere; a session that nobody uses any more ends by itself.
assert ap.delete(key(ann)) == 1
until_all(regions, "ann logged out", lambda region: not region.exists(key(ann)))
until_all(regions, "bob's session ends", lambda region: not region.exists(key(bob)))
print(f"sessions lived through {clicks} clicks and ended in every region")
