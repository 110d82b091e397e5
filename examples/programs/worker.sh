#!/bin/sh
# Turns each FILE.job of a directory into FILE.done, in capital letters, until it is told to stop.
trap 'echo "stopping"; exit 0' TERM

echo "waiting for jobs in $1"
while :; do
    for job in "$1"/*.job; do
        [ -e "$job" ] || continue
        tr '[:lower:]' '[:upper:]' <"$job" >"$job.new"
        mv "$job.new" "${job%.job}.done"
        rm "$job"
        echo "done: $job"
    done
    sleep 0.2 &
    wait "$!" # a trap does not wait for it
done
