"""The script of `helm test`, run in the edge's image: streams one answer and checks that it is complete and priced."""

import json
import os
import re
import sys
import urllib.error
import urllib.request


def main() -> None:
    """Send a request and print the answer; exit with 1 and one line unless it is complete and has a receipt."""
    request = urllib.request.Request(  # noqa: S310 - the address is the chart's
        os.environ["URL"] + "/chat",
        data=json.dumps({"query": "What is the capital of France?", "max_tokens": 32}).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['API_KEY']}",
            "Content-Type": "application/json",
            # A model must answer, not the cache.
            "Cache-Control": "no-store",
        },
    )
    # A proxy of the environment is for what is beyond the cluster.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=180) as response:
            events = list(read_events(response))
    except urllib.error.HTTPError as error:
        sys.exit(f"the edge answered {error.code}: {error.read().decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"the stream cannot be read: {error}")
    names = [name for name, _ in events]
    text = "".join(data["text"] for name, data in events if name == "delta")
    print(f"events: {' '.join(names)}")
    print(f"answer: {text}")
    if not names or names[-1] != "done":
        sys.exit(f"the stream ended with {events[-1] if events else 'nothing'}, not with done")
    if names[0] != "start" or not text:
        sys.exit("there is no answer between start and done")
    done = events[-1][1]
    if not done["attempts"]:
        sys.exit("the receipt names no attempt")
    cost = done["cost_usd"]
    if not (isinstance(cost, str) and re.fullmatch(r"\d+(\.\d+)?", cost)):
        sys.exit(f"the answer is not priced: cost_usd is {json.dumps(cost)}")
    print(f"answered by {done['model']} of {done['provider']}, cost_usd {done['cost_usd']}")


def read_events(lines):
    """Yield name and data of each event of a stream."""
    name, data = "", ""
    for raw in lines:
        line = raw.decode().rstrip("\r\n")
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data += value
        elif not line and data:
            yield name, json.loads(data)
            name, data = "", ""


main()
