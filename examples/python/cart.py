"""A shopping cart as a hash of quantities, filled in several regions, checked out in one transaction."""

import uuid
from collections import Counter

from redis import WatchError

from regions import connect, until, until_all

regions = eu, us, ap = connect()
user = uuid.uuid4().hex[:8]
CART, ORDER = f"cart:{user}", f"order:{user}"


def quantities(client, key):
    return Counter({item: int(quantity) for item, quantity in client.hgetall(key).items()})


# The phone is served by eu, the laptop by us, and somebody in ap shares the account.
eu.hincrby(CART, "tea", 2)
eu.hincrby(CART, "cup", 1)
us.hincrby(CART, "tea", 1)
ap.hincrby(CART, "pot", 1)
until_all(regions, "one cart", lambda region: quantities(region, CART) == Counter(tea=3, cup=1, pot=1))

# Put back in one region, gone from all.
assert ap.hdel(CART, "pot") == 1
until_all(regions, "the pot put back", lambda region: not region.hexists(CART, "pot"))

# A transaction fails when the cart changes under it: here, in another region.
with eu.pipeline() as checkout:
    checkout.watch(CART)
    us.hincrby(CART, "cup", 1)
    until("the second cup in eu", lambda: eu.hget(CART, "cup") == "2")
    checkout.multi()
    checkout.delete(CART)
    try:
        checkout.execute()
        raise SystemExit("checked out a cart that had changed")
    except WatchError:
        print("the cart changed in us; once more")


def order(checkout):
    items = checkout.hgetall(CART)
    checkout.multi()
    checkout.hset(ORDER, mapping=items)
    checkout.delete(CART)


# Meanwhile the laptop adds sugar: it is in the order when eu had seen it, and otherwise still in the cart.
us.hincrby(CART, "sugar", 1)
eu.transaction(order, CART)


def nothing_lost(client):
    with client.pipeline() as seen:
        both = seen.hgetall(CART).hgetall(ORDER).execute()
    ordered = Counter()
    for items in both:
        ordered.update({item: int(quantity) for item, quantity in items.items()})
    return ordered == Counter(tea=3, cup=2, sugar=1)


until_all(regions, "everything ordered or still in the cart, nothing twice", nothing_lost)
until_all(regions, "the order", lambda region: quantities(region, ORDER) >= Counter(tea=3, cup=2))
print("ordered:", dict(quantities(ap, ORDER)), "in the cart:", dict(quantities(ap, CART)))
