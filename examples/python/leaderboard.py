"""Leaderboards: points that add up, and best results that only rise."""

import random
import uuid
from concurrent.futures import ThreadPoolExecutor

from regions import connect, until_all

PLAYERS = [f"player-{number}" for number in range(8)]
ROUNDS = 40  # per region

regions = eu, us, ap = connect()
game = uuid.uuid4().hex[:8]
POINTS, BEST = f"points:{game}", f"best:{game}"

points = dict.fromkeys(PLAYERS, 0)
best = dict.fromkeys(PLAYERS, 0)


def finish(client, player, result):
    with client.pipeline() as transaction:
        transaction.zincrby(POINTS, result, player)
        transaction.zadd(BEST, {player: result}, gt=True)
        transaction.execute()


# Every player plays in all regions at once.
with ThreadPoolExecutor(max_workers=12) as players:
    played = []
    for _ in range(ROUNDS):
        for client in regions:
            player, result = random.choice(PLAYERS), random.randint(1, 1000)
            points[player] += result
            best[player] = max(best[player], result)
            played.append(players.submit(finish, client, player, result))
    for done in played:
        done.result()


def ranking(scores):
    return sorted(((player, score) for player, score in scores.items() if score), key=lambda one: (-one[1], one[0]))


def shown(client, key):
    return sorted(client.zrange(key, 0, -1, desc=True, withscores=True), key=lambda one: (-one[1], one[0]))


def plain(rows):
    return [(player, float(score)) for player, score in rows]


until_all(regions, "all points count once", lambda region: plain(shown(region, POINTS)) == plain(ranking(points)))
until_all(regions, "the best of each", lambda region: plain(shown(region, BEST)) == plain(ranking(best)))

# The champion turns out to be a cheat.
champion = eu.zrange(POINTS, 0, 0, desc=True)[0]
assert eu.zrem(POINTS, champion) == 1
until_all(regions, "the cheat gone", lambda region: region.zscore(POINTS, champion) is None)
tops = [region.zrange(POINTS, 0, 2, desc=True) for region in regions]
assert tops[0] == tops[1] == tops[2], tops
assert ap.zrevrank(POINTS, tops[0][0]) == 0
print("top three everywhere:", ", ".join(tops[0]))
