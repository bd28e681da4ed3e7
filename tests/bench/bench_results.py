"""How long a large list takes: to be stored, and until it is there in a browser (promised: 10,000 in 2 s)."""

import statistics
import time

import pytest

from ami_integration.actions.results import Result, result_pack
from tests.actions.factories import make_run
from tests.bench import SCALE
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.browser.test_results import channels
from tests.browser.test_runs import RUNS
from tests.processes import Stack

ITEMS = max(100, int(10_000 * SCALE))
TIMES = 5


def bench_a_large_list_is_masked_and_compressed() -> None:
    result = Result([("Response", "Success")], channels(ITEMS))
    began = time.process_time()
    packed = result_pack(result, limit=2**30)
    spent = time.process_time() - began
    assert packed.item_count == ITEMS
    print(
        f"\n{ITEMS:,} items of {len(result.items[0])} headers: {packed.size / 2**20:.1f} MiB become "
        f"{len(packed.data) / 2**20:.2f} MiB in {spent:.2f} s of CPU"
    )


@pytest.mark.browser
@pytest.mark.processes
def bench_a_large_list_opens_in_a_browser(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    run = make_run(status="succeeded", action="CoreShowChannels", items=channels(ITEMS))
    seconds = []
    for _ in range(TIMES):
        page.goto("about:blank")
        began = time.perf_counter()
        page.goto(f"{stack.url}{RUNS}{run.pk}/change/")
        table = page.get_by_role("table", name="Items of the list")
        expect(table.get_by_text("PJSIP/00000-")).to_be_visible()
        seconds.append(time.perf_counter() - began)
    print(
        f"\n{ITEMS:,} items are there after {statistics.median(seconds):.2f} s "
        f"(the slowest of {TIMES}: {max(seconds):.2f} s)"
    )
