#!/usr/bin/env bash
# Traces a random-weight model on this machine's GPU, within a time limit, and leaves what it learnt in $OUT.
# See README.md beside this file. Arguments are passed on to every `tracer collect`.
set -uo pipefail
export LC_ALL=C PYTHONUNBUFFERED=1

OUT=${OUT:?OUT must name the folder for the results}
tracer=${TRACER:-build/tracer}
python=${RIG_PYTHON:-python3}
device=${RIG_DEVICE:-cuda}
if [ "$device" = cpu ]; then
	shape=${RIG_SHAPE:-tiny}
else
	shape=${RIG_SHAPE:-8b}
fi
gpu=${RIG_GPU:-auto}
model=tracer-rig-$shape
limit=${RIG_LIMIT_S:-480}    # everything, from here to the packed dataset
reserve=${RIG_RESERVE_S:-25} # of that, for stopping and packing
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run_id=rig-$(date -u +%Y%m%dT%H%M%SZ)

if [ ! -e "$tracer" ]; then
	echo "rig: no program at $tracer: build it, or name it in TRACER" >&2
	exit 2
fi
mkdir -p "$OUT" || exit 2
work=$(mktemp -d) || exit 2
if [ "${tracer%.gz}" != "$tracer" ]; then # packed for the journey: with DuckDB linked in it is large
	gunzip -c "$tracer" >"$work/tracer" && chmod +x "$work/tracer" || exit 2
	tracer=$work/tracer
fi
for file in truth.jsonl collect.log doctor.txt; do : >"$OUT/$file"; done
printf 'stage\tseconds\texit\n' >"$OUT/timings.txt"

# Containers get the driver mounted here, where the loader may not look and torch does.
if ! ldconfig -p 2>/dev/null | grep -q libnvidia-ml.so.1 && [ -e /usr/local/nvidia/lib64/libnvidia-ml.so.1 ]; then
	export LD_LIBRARY_PATH=/usr/local/nvidia/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

server='' child='' failed=0

note() { printf '%s\t%s\t%s\n' "$1" "$2" "$3" | tee -a "$OUT/timings.txt"; }
seconds_since() {
	local us=$((${EPOCHREALTIME/./} - $1))
	printf '%d.%03d' $((us / 1000000)) $((us / 1000 % 1000))
}
remaining() { echo $((limit - reserve - SECONDS)); }

# Queries only: the card's settings stay as they are.
card() {
	command -v nvidia-smi >/dev/null || return 0
	{
		timeout 20 nvidia-smi --format=csv --query-gpu=timestamp,name,uuid,pci.bus_id,driver_version,pstate,temperature.gpu,utilization.gpu,utilization.memory,memory.used,memory.total,power.draw,enforced.power.limit,clocks.sm,clocks.mem,persistence_mode,mig.mode.current,ecc.mode.current
		timeout 20 nvidia-smi -q
	} >"$OUT/nvidia-smi-$1.txt" 2>&1
}

# Runs a stage for at most so many seconds, its output going to a log. In the background, so that a signal to this
# script is heard at once.
stage() {
	local name=$1 most=$2 log=$3 begin=${EPOCHREALTIME/./} status
	shift 3
	if [ "$most" -lt 5 ]; then
		note "$name" 0 "skipped, no time left"
		failed=1
		return 1
	fi
	timeout --kill-after=15 "$most" "$@" >>"$log" 2>&1 &
	child=$!
	wait "$child"
	status=$?
	child=''
	note "$name" "$(seconds_since "$begin")" "$status"
	return "$status"
}

stop() { # a process of ours, by its id: asked, given 20 s, then killed
	[ -n "$1" ] && kill -TERM "$1" 2>/dev/null || return 0
	for _ in $(seq 200); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -KILL "$1" 2>/dev/null
}

pack() {
	[ -d "$work/datasets" ] || return 0
	tar -C "$work" -czf "$OUT/dataset.tar.gz" datasets
	# Small enough to carry back over a slow line; the tables matter more than manifests.
	if [ "$(stat -c %s "$OUT/dataset.tar.gz")" -gt $((16 << 20)) ]; then
		tar -C "$work" --exclude=_tracer -czf "$OUT/dataset.tar.gz" datasets
		echo "rig: over 16 MiB: packed without _tracer: $(stat -c %s "$OUT/dataset.tar.gz") bytes"
	fi
}

finish() {
	local status=$?
	trap - EXIT
	trap '' TERM INT HUP
	stop "$child"
	stop "$server"
	card after
	pack
	note total "$SECONDS" "$status"
	{
		echo
		"$python" "$here/truth.py" <"$OUT/truth.jsonl"
		grep '^rig: ' "$OUT/server.log"
	} 2>&1 | tee -a "$OUT/timings.txt"
	rm -rf "$work"
	exit "$status"
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT HUP

card before
begin=${EPOCHREALTIME/./}
"$python" "$here/server.py" --device "$device" --shape "$shape" --port "${RIG_PORT:-0}" \
	--truth "$OUT/truth.jsonl" >"$OUT/server.log" 2>&1 &
server=$!
url=''
until url=$(sed -n 's/^listening on //p' "$OUT/server.log") && [ -n "$url" ]; do
	if ! kill -0 "$server" 2>/dev/null || [ "$SECONDS" -gt "$((limit / 2))" ]; then
		note server "$(seconds_since "$begin")" "did not start"
		tail -n 30 "$OUT/server.log" >&2
		exit 1
	fi
	sleep 0.2
done
"$python" -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=10)' "$url/health" || exit 1
note server "$(seconds_since "$begin")" 0

stage doctor 45 "$OUT/doctor.txt" "$tracer" doctor --endpoint "$url/v1"
# What the sensors do and what reading them costs, before what they say. The collections find both in the dataset.
stage calibrate 60 "$OUT/doctor.txt" "$tracer" calibrate --endpoint "$url/v1" --model "$model" --gpu "$gpu" --mode active \
	--out "$work/datasets"
stage overhead "${RIG_OVERHEAD_S:-100}" "$OUT/doctor.txt" "$tracer" overhead --endpoint "$url/v1" --model "$model" --gpu "$gpu" \
	--blocks 6 --requests 3 --out "$work/datasets" --run-id "$run_id-overhead"
cat "$OUT/doctor.txt"

collect() { # name, workload, sizes, prompts of each size, most seconds, further arguments
	local name=$1 workload=$2 sizes=$3 prompts=$4 most=$5
	shift 5
	[ "$most" -lt "$(remaining)" ] || most=$(remaining)
	stage "$name" "$most" "$OUT/collect.log" "$tracer" collect --endpoint "$url/v1" --model "$model" --gpu "$gpu" \
		--workload "$workload" --sizes "$sizes" --prompts "$prompts" --concurrency 1 --out "$work/datasets" \
		--run-id "$run_id-$name" --json "$@" || failed=1
}

# The longest answer comes last, so that what a slow machine loses is one request. It needs no warm-up, which could be
# as long as itself: the stages before it were.
collect prefill prefill "${RIG_PREFILL_SIZES:-10,50,100,1000,10000}" "${RIG_PREFILL_PROMPTS:-20}" 150 "$@"
collect decode decode "${RIG_DECODE_SIZES:-10,50,100,1000}" "${RIG_DECODE_PROMPTS:-8}" 180 "$@"
collect decode-long decode "${RIG_LONG_SIZES:-10000}" "${RIG_LONG_PROMPTS:-1}" 300 --warmup 0 "$@"
tail -n 20 "$OUT/collect.log"
exit "$failed"
