"""View counters: every view counts once, wherever it was; unique visitors are counted once for all regions."""

import uuid
from concurrent.futures import ThreadPoolExecutor

from regions import connect, until_all

PAGES = ("home", "pricing", "docs")
VIEWS = 60  # per region

regions = connect()
site = uuid.uuid4().hex[:8]


def view(client, page, visitor):
    with client.pipeline(transaction=False) as pipe:
        pipe.incr(f"views:{site}:{page}")
        pipe.hincrby(f"views:{site}", page, 1)
        pipe.pfadd(f"visitors:{site}", visitor)
        pipe.execute()


# Half of the visitors of a region are seen in the next one, too.
with ThreadPoolExecutor(max_workers=12) as visitors:
    views = [
        visitors.submit(view, client, PAGES[number % len(PAGES)], f"visitor-{region * VIEWS // 2 + number}")
        for number in range(VIEWS)
        for region, client in enumerate(regions)
    ]
    for done in views:
        done.result()

each = VIEWS * len(regions) // len(PAGES)
keys = [f"views:{site}:{page}" for page in PAGES]
until_all(regions, "every view counted", lambda region: region.mget(keys) == [str(each)] * len(PAGES))
until_all(
    regions, "and in the hash", lambda region: region.hgetall(f"views:{site}") == dict.fromkeys(PAGES, str(each))
)

unique = VIEWS * (len(regions) + 1) // 2
until_all(
    regions,
    "visitors counted once, to the two percent of a HyperLogLog",
    lambda region: abs(region.pfcount(f"visitors:{site}") - unique) <= unique * 0.02,
)
print(f"{each} views of each page, {unique} visitors, in every region")
