package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/llm-tracer/tracer/pipeline"
	"github.com/llm-tracer/tracer/pipeline/journal"
	"github.com/llm-tracer/tracer/pipeline/store"
	"github.com/llm-tracer/tracer/schema"
)

// What --rank can say beside a number.
const (
	rankAuto = "auto"
	rankHost = "host"
	rankNone = "none"

	hostRank = "host-" // begins the ranks that hosts are
)

// launch is what a launcher called all of its processes, and which of them this one is. The run is then <id>.<rank>.
type launch struct {
	id   string // --run-id as it was given; empty where it was not
	rank string // r3, a2r3 or host-NAME; empty where the process is on its own
	from string // where the rank stands, for the screen
}

func (l launch) runID() string {
	if l.rank == "" {
		return l.id
	}
	return l.id + "." + l.rank
}

// launched finds out which process of a launch this is.
func (c *target) launched() (launch, error) {
	l := launch{id: c.RunID}
	if c.RunID == "" {
		if c.Rank != rankAuto && c.Rank != rankNone {
			return l, usage("--rank %s without --run-id: a rank is one of several processes that share a run id; give them all the same", c.Rank)
		}
		return l, nil
	}
	var err error
	switch c.Rank {
	case rankNone:
	case rankAuto:
		l.rank, l.from, err = scheduledRank()
	case rankHost:
		l.rank, l.from, err = ownHostRank()
	default:
		l.rank, l.from, err = givenRank(c.Rank)
	}
	if err != nil {
		return l, err
	}
	if err := store.CheckRunID(l.runID()); err != nil {
		return l, usage("--run-id: %w", err)
	}
	return l, nil
}

// givenRank is a number, or a name that is no other rank's.
func givenRank(text string) (rank, from string, err error) {
	switch {
	case ranks.MatchString(text):
		return "r" + text, "--rank", nil
	case rankNames.MatchString(text) && !reserved.MatchString(text):
		return text, "--rank", nil
	}
	return "", "", usage("--rank %s: give a number from 0 on, a name of letters, digits, '_' and '-', host, none, or auto", text)
}

var (
	rankNames = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
	reserved  = regexp.MustCompile(`^(r[0-9]+|a[0-9]+r[0-9]+|host-.*)$`)
)

// ranks are as schedulers count; leading zeros would make two names of one rank.
var ranks = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})$`)

// scheduledRank is what Slurm or Kubernetes call this process: of a job array, every job counts its processes from 0.
func scheduledRank() (rank, from string, err error) {
	for _, name := range []string{"SLURM_PROCID", "JOB_COMPLETION_INDEX"} {
		value := os.Getenv(name)
		if value == "" {
			continue
		}
		if !ranks.MatchString(value) {
			return "", "", usage("%s=%s: a rank is a number from 0 on; unset it, or give --rank", name, value)
		}
		if task := os.Getenv("SLURM_ARRAY_TASK_ID"); name == "SLURM_PROCID" && task != "" {
			if !ranks.MatchString(task) {
				return "", "", usage("SLURM_ARRAY_TASK_ID=%s: a task of an array is a number from 0 on; unset it, or give --rank", task)
			}
			return "a" + task + "r" + value, "SLURM_ARRAY_TASK_ID and " + name, nil
		}
		return "r" + value, name, nil
	}
	return "", "", nil
}

func ownHostRank() (rank, from string, err error) {
	rank = hostRank + schema.Slug(hostname())
	if strings.Contains(rank, "%") {
		return "", "", usage("--rank host: the host is called %s, which fits into no run id; give --rank a number", strconv.Quote(hostname()))
	}
	return rank, "the host", nil
}

// yield takes the host for the rank where what keeps the run from its id is that another host has it, and no scheduler tells
// the two apart. Every other error is given back.
func (c *target) yield(t *terminal, err error) error {
	taken, elsewhere := errors.AsType[*pipeline.ElsewhereError](err)
	if !elsewhere || c.Rank != rankAuto || c.launch.id == "" || c.launch.rank != "" {
		return err
	}
	if c.launch.rank, _, err = ownHostRank(); err != nil {
		return err
	}
	c.launch.from = fmt.Sprintf("host %s has %s", taken.Host, c.launch.id)
	if c.RunID = c.launch.runID(); store.CheckRunID(c.RunID) != nil {
		return usage("--run-id: %w", store.CheckRunID(c.RunID))
	}
	c.launch.tell(t)
	return pipeline.Free(c.Out, c.RunID, hostname())
}

// tell says which run a rank has.
func (l launch) tell(t *terminal) {
	if l.rank != "" {
		fmt.Fprintf(t.err, "rank %s of %s (%s): run %s\n", l.rank, l.id, l.from, l.runID())
	}
}

// begun is what there is of a run: published, or in a journal.
type begun struct {
	id, host, launch, rank string
}

func beginnings(out string) ([]begun, error) {
	catalog, err := store.ReadCatalog(out)
	if err != nil {
		return nil, err
	}
	names, err := journal.Names(out)
	if err != nil {
		return nil, err
	}
	var all []begun
	for _, m := range catalog.Runs {
		all = append(all, begun{m.RunID, m.Host, m.LaunchID, m.Rank})
	}
	for _, name := range names {
		run := journal.Peek(out, name).Run
		all = append(all, begun{run.ID, run.Host, run.Launch, run.Rank})
	}
	return all, nil
}

// own is the run that this process has under a launcher's id: its rank's, its host's, or the one that is called so.
func (c *target) own(id string, all []begun) (string, error) {
	asked := *c
	asked.RunID = id
	l, err := asked.launched()
	if err != nil {
		return "", err
	}
	there := func(id string) bool { return slices.ContainsFunc(all, func(b begun) bool { return b.id == id }) }
	if l.rank != "" && there(l.runID()) {
		return l.runID(), nil
	}
	if slices.Contains(hostsOf(id, all), hostname()) || c.Rank != rankAuto {
		return id, nil
	}
	if rank, _, err := ownHostRank(); err == nil && there(id+"."+rank) {
		return id + "." + rank, nil
	}
	return id, nil
}

func hostsOf(id string, all []begun) (hosts []string) {
	for _, b := range all {
		if b.id == id {
			hosts = append(hosts, b.host)
		}
	}
	return hosts
}

// ranksOf are the runs of a launch, in order, for pointing at them.
func ranksOf(id string, all []begun) []string {
	var ids []string
	for _, b := range all {
		if b.launch == id && b.rank != "" && b.id == id+"."+b.rank {
			ids = append(ids, b.id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// movable says whether a run may be gone on with on another host: a scheduler starts a rank again wherever there is room.
func movable(rank string) bool { return rank != "" && !strings.HasPrefix(rank, hostRank) }

// beginOrResume has the run gone on with if there is one, so that a job can be started again by the same command.
func (c *collect) beginOrResume() error {
	if c.RunID == "" {
		return usage("--go-on without --run-id: name the run that is to be begun, or gone on with")
	}
	if c.Resume != "" {
		return usage("--go-on with --resume: give one of them")
	}
	l, err := c.launched()
	if err != nil {
		return err
	}
	all, err := beginnings(c.Out)
	if err != nil {
		return err
	}
	id, err := c.own(c.RunID, all)
	if err != nil {
		return err
	}
	hosts := hostsOf(id, all)
	if len(hosts) == 0 || id != l.runID() && l.rank != "" || l.rank == "" && id == l.id && !slices.Contains(hosts, hostname()) {
		return nil // this process has begun none
	}
	c.Resume, c.RunID = id, ""
	return nil
}
