"""What a slider of the console costs: from its move to the picture of 300 requests in the browser.

`python -m benchmarks.console`, after `make demo`: service, console and browser on this machine, one move at a
time. Prints the median and the 95th percentile, of the whole and of what the console waits for the service.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from examples.console_pictures import fill, looking, served

REQUESTS, CANDIDATES = 300, 500
MOVES = 60
_PACE_S = 0.06
"""Between two rankings: the service remembers one in 0.05 s."""
_MOVE = """
(position) => new Promise((done) => {
  const slider = document.querySelector('input[aria-label="vtr weight"]');
  const began = performance.now();
  const seen = new MutationObserver(() => {
    seen.disconnect();
    requestAnimationFrame(() => done(performance.now() - began));
  });
  seen.observe(document.querySelector('.impact'), { childList: true, subtree: true, characterData: true });
  slider.value = position;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
})
"""


def main() -> None:
    """Move it."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), workers=1) as url:
        fill(url, REQUESTS, CANDIDATES, _PACE_S)
        with looking(url) as page:
            page.get_by_text(f"Over {REQUESTS} recent requests").wait_for()
            page.wait_for_timeout(1000)
            whole, waited = [], []
            for move in range(MOVES):
                whole.append(page.evaluate(_MOVE, 100 + 137 * move % 200))
                waited.append(float(page.locator(".took").get_attribute("data-took-ms") or "nan"))
                page.wait_for_timeout(200)
    for name, values in (("slider to picture", whole), ("waited for the service", waited)):
        median, p95 = np.percentile(values, [50.0, 95.0])
        print(f"{name}: median {median:.0f} ms, p95 {p95:.0f} ms, of {MOVES} moves")


if __name__ == "__main__":
    main()
