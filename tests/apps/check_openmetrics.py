"""Reads OpenMetrics text from standard input with the reference parser, which is strict."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

families = list(text_string_to_metric_families(sys.stdin.read()))
if not families:
    sys.exit("no metric families")
print(len(families))
