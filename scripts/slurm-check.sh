#!/usr/bin/env bash
# What `make slurm` shows on the Slurm that scripts/slurm.sh starts, with simulated boards: tasks that share a run id, a job
# array, one that is cancelled, a campaign's jobs, and jobs that are put back into the queue or whose time is over.
# Four minutes: Slurm holds back for two what was put back into the queue. With "quick" as its argument, only what takes seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
export TRACER_PROGRAM=$PWD/build/tracer
job=$PWD/deploy/slurm/tracer.sbatch
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset SLURM_PROCID JOB_COMPLETION_INDEX
sim=(collect --gpu sim:H200 --endpoint sim --sizes 10 --prompts 2 --idle 0s --warmup 0 --pause 0s --calibrate off)
die() {
	echo "slurm-check: $1" >&2
	tail -n 30 "$work"/*.log >&2
	exit 1
}

submit() { # OPTION… -- ARGUMENT…: prints the job's id
	local options=()
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	sbatch --parsable --cpus-per-task=1 --output="$work/%x-%j.log" --chdir="$work" "${options[@]}" "$job" "${@:2}"
}

ended() { # JOB SECONDS: waits until the job is gone or over, and prints its state
	local _ state
	for _ in $(seq "$(($2 * 5))"); do
		state=$(squeue -h -t all -j "$1" -o %T | sort -u | tr '\n' ' ')
		case $state in
		*RUNNING* | *PENDING* | *COMPLETING* | *REQUEUE*) sleep 0.2 ;;
		*)
			echo "${state:-gone}"
			return
			;;
		esac
	done
	die "job $1 does not end: $state"
}

runs() { # DATASET: run id, launch, rank and status, by run id
	"$TRACER_PROGRAM" query "$1" --csv "SELECT run_id, launch_id, rank, status FROM runs ORDER BY ALL" | tail -n +2
}

sound() { "$TRACER_PROGRAM" verify --strict "$1"; }

echo "== four tasks of one job, one run id"
id=$(submit --job-name=tasks --ntasks-per-node=4 -- "${sim[@]}" --out "$work/tasks")
state=$(ended "$id" 60)
runs "$work/tasks"
[ "$(runs "$work/tasks" | grep -c "^tasks-$id.r[0-3],tasks-$id,r[0-3],complete$")" = 4 ] || die "not four ranks ($state)"
sound "$work/tasks"

echo "== a job array of three, two tasks each"
id=$(submit --job-name=array --array=0-2 --ntasks-per-node=2 -- "${sim[@]}" --out "$work/array")
state=$(ended "$id" 60)
runs "$work/array"
[ "$(runs "$work/array" | grep -c "^array-$id.a[0-2]r[01],array-$id,a[0-2]r[01],complete$")" = 6 ] || die "not six ranks ($state)"
sound "$work/array"

echo "== cancelled: committed, and not queued again"
id=$(submit --job-name=cancelled -- "${sim[@]}" --sizes 2000 --workload decode --out "$work/cancelled")
for _ in $(seq 100); do
	! grep -q "requests to" "$work/cancelled-$id.log" 2>/dev/null || break
	sleep 0.1
done
sleep 1
scancel "$id"
state=$(ended "$id" 60)
[ "$state" = "CANCELLED " ] || die "a cancelled job is $state"
runs "$work/cancelled"
runs "$work/cancelled" | grep -q "^cancelled-$id.r0,.*,interrupted$" || die "what a cancelled job had measured is not committed"

echo "== the jobs of a campaign: two boards, two repetitions, a block a task"
cat >"$work/boards.yaml" <<-YAML
	name: boards
	out: campaign
	repetitions: 2
	boards: [sim:H200, {name: h100, gpu: "sim:H100-SXM", slurm: [--comment=h100]}]
	models: [{endpoint: sim, model: meta-llama/Meta-Llama-3-8B}]
	workloads: [prefill]
	sizes: [10, 50]
	collect: {prompts: 2, idle: 0s, warmup: 0, pause: 0s, calibrate: "off"}
YAML
(cd "$work" && "$TRACER_PROGRAM" campaign boards.yaml --emit slurm -o jobs)
for file in "$work"/jobs/*.sbatch; do
	id=$(cd "$work" && sbatch --parsable --cpus-per-task=1 "$file")
	state=$(ended "$id" 100)
done
runs "$work/campaign"
[ "$(runs "$work/campaign" | grep -c "^boards.*,boards,.*,complete$")" = 8 ] || die "the campaign is not complete ($state)"
(cd "$work" && "$TRACER_PROGRAM" campaign boards.yaml) # which finds nothing left
sound "$work/campaign"

[ "${1:-}" != quick ] || exit 0

echo "== put back into the queue while it runs, and another whose time is over (SIGTERM before): both commit, and go on"
long=("${sim[@]}" --workload decode --sizes 100 --prompts 40)
requeued=$(submit --job-name=requeued -- "${long[@]}" --out "$work/requeued")
# Slurm may be half a minute late with the signal.
limited=$(submit --job-name=limited --time=1 --signal=TERM@50 -- "${long[@]}" --prompts 60 --out "$work/limited")
for _ in $(seq 100); do
	! grep -q "requests to" "$work/requeued-$requeued.log" 2>/dev/null || break
	sleep 0.1
done
sleep 3
scontrol requeue "$requeued"
for id in "$requeued" "$limited"; do
	state=$(ended "$id" 400) # Slurm holds back for two minutes what was put back
	name=$(basename "$work"/*-"$id.log" "-$id.log")
	grep -v "^ \|requests," "$work/$name-$id.log" | grep "started\|over\|interrupted\|goes on\|left" || true
	runs "$work/$name"
	runs "$work/$name" | grep -q "^$name-$id.r0,.*,interrupted$" || die "nothing of $name was interrupted ($state)"
	runs "$work/$name" | grep -q "^$name-$id.r0.[0-9]*,.*,complete$" || die "$name is not complete ($state)"
	sound "$work/$name"
done
