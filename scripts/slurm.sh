#!/usr/bin/env bash
# Runs a command beside a Slurm of one node, with srun, sbatch, squeue and scontrol on its path, and ends both together:
#
#   scripts/slurm.sh srun hostname
#
# The packages are Debian's (slurmctld, slurmd, munge; about 4 MB), unpacked under build/slurm and laid over /usr in a mount
# namespace: nothing is installed, and nothing outside of the namespace sees them. Needs root on a Debian. The daemons run in
# a temporary folder, on the loopback interface, with munge between them; jobs run as root.
set -euo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)
root=$repo/build/slurm

die() {
	echo "slurm.sh: $1" >&2
	exit 1
}

fetch() {
	command -v apt-get >/dev/null || die "Slurm is taken from Debian's packages, and this host has no apt-get"
	local work=$root/.fetch log=$root/fetch.log
	rm -rf "$work" && mkdir -p "$work/debs/partial" "$work/root"
	apt-get -qq update >"$log" 2>&1 || true # what is known already may do
	apt-get -q install --yes --no-install-recommends --download-only -o Dir::Cache::archives="$work/debs" -o Debug::NoLocking=true \
		slurmctld slurmd slurm-client munge >>"$log" 2>&1 || { tail -n 5 "$log" >&2; die "the packages cannot be fetched"; }
	local deb
	for deb in "$work"/debs/*.deb; do
		dpkg-deb --extract "$deb" "$work/root"
	done
	local program # Debian's alternatives would link them
	for program in slurmctld slurmd slurmstepd; do
		ln -sf "$program-wlm" "$work/root/usr/sbin/$program"
	done
	rm -rf "$root/root" && mv "$work/root" "$root/root" && rm -rf "$work"
}

# wait_for NAME COMMAND…: until it succeeds, 30 s at most.
wait_for() {
	local what=$1 _
	shift
	for _ in $(seq 300); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	tail -n 20 "$work"/log/*.log >&2
	die "$what does not come up"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

configure() {
	local cpus
	cpus=$(nproc)
	cat >"$work/slurm.conf" <<-CONF
		ClusterName=one
		SlurmctldHost=localhost(127.0.0.1)
		SlurmctldPort=$(free_port)
		SlurmdPort=$(free_port)
		SlurmUser=root
		SlurmdUser=root
		AuthType=auth/munge
		AuthInfo=socket=$work/munge/socket
		CryptoType=crypto/munge
		StateSaveLocation=$work/state
		SlurmdSpoolDir=$work/spool
		SlurmctldPidFile=$work/slurmctld.pid
		SlurmdPidFile=$work/slurmd.pid
		SlurmctldLogFile=$work/log/slurmctld.log
		SlurmdLogFile=$work/log/slurmd.log
		ProctrackType=proctrack/linuxproc
		TaskPlugin=task/none
		JobAcctGatherType=jobacct_gather/none
		AccountingStorageType=accounting_storage/none
		SelectType=select/cons_tres
		SelectTypeParameters=CR_CPU
		SwitchType=switch/none
		MpiDefault=none
		SlurmdParameters=config_overrides
		ReturnToService=2
		SchedulerParameters=sched_interval=1
		KillWait=${SLURM_KILL_WAIT:-30}
		MailProg=/bin/true
		NodeName=localhost NodeAddr=127.0.0.1 CPUs=$((cpus * 4)) State=UNKNOWN
		PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
	CONF
}

end() {
	local pid
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null || true
	done
	sleep 1
	for pid in "${pids[@]}"; do
		kill -9 "$pid" 2>/dev/null || true
	done
	{ wait || true; } 2>/dev/null
	rm -rf "$work"
}

# serve runs within the namespace.
serve() {
	mount --make-rprivate /
	mount -t overlay overlay -o "lowerdir=$root/root/usr:/usr" /usr
	work=$(mktemp -d /tmp/tracer-slurm-XXXXXX)
	pids=()
	trap end EXIT
	mkdir -p "$work"/{munge,log,state,spool}
	chmod 700 "$work/munge" && chmod 755 "$work"
	dd if=/dev/urandom of="$work/munge/key" bs=128 count=1 status=none && chmod 600 "$work/munge/key"
	munged --foreground --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
		--log-file="$work/log/munged.log" --seed-file="$work/munge/seed" >/dev/null 2>&1 &
	pids+=($!)
	configure
	export SLURM_CONF=$work/slurm.conf
	wait_for munged test -S "$work/munge/socket"
	slurmctld -D >"$work/log/slurmctld.out.log" 2>&1 &
	pids+=($!)
	slurmd -D -N localhost >"$work/log/slurmd.out.log" 2>&1 &
	pids+=($!)
	wait_for "Slurm" bash -c 'sinfo -h -o %T | grep -qx idle'
	"$@"
}

[ $# -gt 0 ] || die "give a command to run beside Slurm, such as srun hostname"
if [ "${TRACER_SLURM_INSIDE:-}" = yes ]; then
	unset TRACER_SLURM_INSIDE
	serve "$@"
	exit
fi
[ "$(id -u)" = 0 ] || die "it mounts Debian's packages over /usr, in a namespace of its own, and needs root for that"
[ -x "$root/root/usr/sbin/slurmctld" ] || { mkdir -p "$root" && fetch; }
TRACER_SLURM_INSIDE=yes exec unshare --mount "$0" "$@"
