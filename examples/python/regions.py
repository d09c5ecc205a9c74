"""What the examples share: connecting to the regions, and waiting until they agree."""

import os
import sys
import time
from itertools import cycle, islice

import redis

NAMES = ("eu", "us", "ap")
# Seconds after which an example gives up waiting.
PATIENCE = float(os.environ.get("PATIENCE", "20"))


def connect(**options):
    """One client per region, for the addresses on the command line. With fewer addresses, regions share a server."""
    addresses = sys.argv[1:] or ["localhost:6379"]
    clients = []
    for address in islice(cycle(addresses), len(NAMES)):
        host, _, port = address.rpartition(":")
        clients.append(redis.Redis(host=host, port=int(port), decode_responses=True, **options))
    return clients


def until(what, check):
    """Asks again and again until the answer is true, and gives it."""
    print("waiting:", what, flush=True)
    deadline = time.monotonic() + PATIENCE
    while not (answer := check()):
        if time.monotonic() > deadline:
            sys.exit(f"waited {PATIENCE} s in vain: {what}")
        time.sleep(0.02)
    return answer


def until_all(clients, what, check):
    """Waits until the check is true in every region."""
    until(what, lambda: all(check(client) for client in clients))
