#!/usr/bin/env python3
"""Reads the server's truth file from standard input and prints each size's stages as they really were."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from statistics import median


def table(requests: list[dict]) -> str:
    sizes: dict[tuple[float, int], list[dict]] = defaultdict(list)
    for t in requests:
        if t["status"] == "complete":
            # One significant digit, as prompts of one size differ by a few words.
            sizes[float(f"{t['prompt_tokens']:.0e}"), t["max_tokens"]].append(t)
    lines = [f"{'prompt':>8} {'answer':>8} {'requests':>8} {'prefill ms: median':>19} {'max':>9} {'ms/token':>9}"]
    for (_, answer), group in sorted(sizes.items()):
        prompt = median(t["prompt_tokens"] for t in group)
        prefill = [(t["first_token_ns"] - t["prefill_start_ns"]) / 1e6 for t in group]
        # The first token belongs to the prefill, so a one-token answer has no decode.
        decode = median((t["end_ns"] - t["first_token_ns"]) / 1e6 / (answer - 1) for t in group) if answer > 1 else None
        per_token = "-" if decode is None else f"{decode:.3f}"
        lines.append(
            f"{prompt:>8.0f} {answer:>8} {len(group):>8} {median(prefill):>19.2f} {max(prefill):>9.2f} {per_token:>9}"
        )
    lines.append(f"{sum(t['status'] != 'complete' for t in requests)} requests did not complete")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table([json.loads(line) for line in sys.stdin]))
