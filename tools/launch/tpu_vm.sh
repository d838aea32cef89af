#!/usr/bin/env bash
# Runs zoo train on all hosts of a Cloud TPU slice, and again while it asks for it.
#
#   TPU=my-slice ZONE=us-west4-a WORKDIR=/shared/runs/mine tools/launch/tpu_vm.sh
#
# The hosts find each other; WORKDIR and DATA are on a file system that all of them share.
set -eu
: "${TPU:?name of the slice}" "${ZONE:?its zone}" "${WORKDIR:?run directory, shared by all hosts}"
CONFIG=${CONFIG:-configs/in1k.py}
DATA=${DATA:-/shared/in1k}
FOLDER=${FOLDER:-flax-vanilla-zoo} # the checkout on every host, with its environment in .venv

command="cd $FOLDER && source .venv/bin/activate && for try in \$(seq 100); do
  zoo train $CONFIG --workdir $WORKDIR --data.data-dir $DATA && exit 0
  code=\$?
  [ \$code -eq 75 ] || [ \$code -ge 128 ] || exit \$code
  sleep 10
done"
if [ -n "${DRY_RUN:-}" ]; then
  echo "$command"
  exit 0
fi
gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all --command "$command"
