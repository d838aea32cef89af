#!/usr/bin/env bash
# Runs a command as N processes of one run on this machine, and once more while they ask for it.
#
#   tools/launch/local.sh N COMMAND...
#   tools/launch/local.sh 2 zoo train --recipe smoke --workdir runs/smoke
#
# PORT (8476): where process 0 listens.  RESTARTS (3): how often the run is started again when
# processes end with 75 or by a signal.  SIGTERM and SIGINT go to all processes and end the run.
set -u
if [ $# -lt 2 ] || ! [ "$1" -gt 0 ] 2>/dev/null; then
  echo "usage: tools/launch/local.sh N COMMAND..." >&2
  exit 2
fi
processes=$1
shift
export ZOO_COORDINATOR="localhost:${PORT:-8476}" ZOO_PROCESSES="$processes"
pids=()
stopped=""

forward() {
  stopped=yes
  kill -s "$1" "${pids[@]}" 2>/dev/null
}
trap 'forward TERM' TERM
trap 'forward INT' INT

# Starts all processes and waits for them. Sets `code` to the largest exit code of those that need
# a person, or else to 75 if some may be started again, or else to 0.
run_once() {
  local id pid one again=""
  pids=()
  for ((id = 0; id < processes; id++)); do
    ZOO_PROCESS_ID=$id "$@" &
    pids+=($!)
  done
  code=0
  for pid in "${pids[@]}"; do
    # A trapped signal interrupts `wait`, which then says nothing of the process.
    while :; do
      wait "$pid"
      one=$?
      kill -0 "$pid" 2>/dev/null || break
    done
    if [ "$one" -eq 75 ] || [ "$one" -ge 128 ]; then
      again=yes
    elif [ "$one" -gt "$code" ]; then
      code=$one
    fi
  done
  [ "$code" -eq 0 ] && [ -n "$again" ] && code=75
}

for ((left = ${RESTARTS:-3}; ; left--)); do
  run_once "$@"
  [ "$code" -eq 75 ] && [ -z "$stopped" ] && [ "$left" -gt 0 ] || exit "$code"
  echo "local.sh: starting all $processes processes again ($((left - 1)) more times at most)" >&2
done
