#!/bin/sh
# run-idle.sh - what stays resident after a burst of 1 GiB of which nine tenths are freed, 5 s idle.
#
# QUICK=1 takes 256 MiB and one distribution; --dist service,fixed-256 chooses some; --idle 10 waits
# longer. The distributions and the meaning of the columns are told in idle_rss.c and runner.py.
set -eu
exec python3 "$(dirname "$0")/runner.py" idle "$@"
