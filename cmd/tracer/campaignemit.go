package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/llm-tracer/tracer/deploy"
	"github.com/llm-tracer/tracer/internal/campaign"
)

// emit writes a campaign as jobs. Files of that name are left alone.
func (c *campaignCommand) emit(t *terminal, file *campaign.File) error {
	if c.Board != "" || c.Block != -1 {
		return usage("--emit writes the jobs of all boards; leave --board and --block out")
	}
	if c.Emit == "k8s" && c.Out != "" {
		return usage("--out with --emit k8s: the pods write into /datasets, their volume; leave it out, or edit the jobs")
	}
	jobsOf, hint := func() ([]campaign.Job, error) { return file.SlurmJobs(deploy.Slurm) }, "sbatch"
	if c.Emit == "k8s" {
		jobsOf, hint = func() ([]campaign.Job, error) { return file.KubernetesJobs(deploy.Kubernetes) }, "kubectl apply -f"
	}
	jobs, err := jobsOf()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Output, 0o755); err != nil {
		return environment(fmt.Errorf("-o %s: %w; name a folder that you may write to", c.Output, err))
	}
	for _, j := range jobs {
		path := filepath.Join(c.Output, j.Name)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return usage("-o %s: %s is there already; remove it, or name another folder", c.Output, path)
		}
		if err == nil {
			_, err = f.WriteString(j.Text)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return environment(fmt.Errorf("-o %s: %w", c.Output, err))
		}
		fmt.Fprintln(t.out, hint, path)
	}
	return nil
}
