// Package deploy holds the shapes that tracer runs in on clusters: users fill them in by hand, and tracer campaign --emit
// for the jobs of a campaign.
package deploy

import _ "embed" // the shapes

// Slurm is the batch script, whose arguments are tracer's.
//
//go:embed slurm/tracer.sbatch
var Slurm string

// Kubernetes is the Indexed Job.
//
//go:embed k8s/job.yaml
var Kubernetes []byte
