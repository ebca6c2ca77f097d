#!/usr/bin/env bash
# Measures tracer beside its peers and prints the JSON document for docs/benchmarks.md. PEERS_SEEDS bounds the seeds (default 5).
#
# The peers are installed into build/bench/venv at the versions of requirements.txt; one that cannot be installed is left out,
# and the page says so.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=build/bench/venv
stamp=$venv/ready
if [ ! -f "$stamp" ] || [ bench/peers/requirements.txt -nt "$stamp" ]; then
	echo "installing the peers into $venv" >&2
	[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
	rm -f "$venv/failed"
	if ! "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement bench/peers/requirements.txt >&2; then
		# One by one, so that one that is gone from the registry does not take the others with it.
		while read -r package; do
			"$venv/bin/pip" install --quiet --disable-pip-version-check "$package" >&2 ||
				{ echo "peers: $package could not be installed" >&2; echo "$package" >>"$venv/failed"; }
		done < <(grep -v '^#' bench/peers/requirements.txt)
	fi
	[ -s "$venv/failed" ] || touch "$stamp"
fi
for needed in numpy pandas pyarrow matplotlib; do
	"$venv/bin/python" -c "import $needed" || { echo "peers: $needed is not installed, and nothing can be judged without it" >&2; exit 1; }
done

mkdir -p build/bench/bin
rm -rf build/bench/peers
cc -O2 -Wall -Wextra -Werror -I"$(go list -f '{{.Dir}}' github.com/NVIDIA/go-nvml/pkg/nvml)" -o build/bench/bin/nvidia-smi bench/peers/smi.c -ldl
for seed in $(seq "${PEERS_SEEDS:-5}"); do
	"$venv/bin/python" bench/peers/run.py measure "$seed" || echo "peers: seed $seed was not measured" >&2
done
exec "$venv/bin/python" bench/peers/run.py tell
