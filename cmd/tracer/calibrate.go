package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

type calibrateCommand struct {
	Out           string        `default:"datasets" placeholder:"DIR" help:"Dataset to keep the result in, for collect (default: ${default})."`
	Endpoint      string        `placeholder:"URL" help:"Server to make load with, or sim for the simulated one (default: none; whatever runs on the boards)."`
	Model         string        `placeholder:"NAME" help:"Model to ask for (default: the only one that the server lists)."`
	Server        string        `placeholder:"NAME" help:"Server profile: ${servers} (default: detected)."`
	GPU           string        `name:"gpu" default:"auto" placeholder:"BOARDS" help:"auto for every board; 0,2 or GPU-<uuid>,… for some; sim:A10,… for simulated ones (default: ${default})."`
	Mode          string        `default:"auto" enum:"auto,active" placeholder:"HOW" help:"auto: periods and costs; active: averaging windows too, which takes a load of its own (default: ${default})."`
	Silence       time.Duration `default:"2m" placeholder:"TIME" help:"Give a request up after so long without a byte (default: ${default})."`
	DriverTimeout time.Duration `name:"driver-timeout" default:"10s" placeholder:"TIME" help:"Give a call of the GPU driver up after so long: that board is lost, the others go on (default: ${default})."`
	APIKeyFile    string        `name:"api-key-file" placeholder:"PATH" help:"File that holds the server's API key (default: the environment's TRACER_API_KEY)."`
	JSON          bool          `name:"json" help:"Print the result as JSON."`
	tlsFlags
}

// Help is printed under the flags.
func (*calibrateCommand) Help() string {
	return `Under load an instant power sensor shows a new value at every update; an idle one may not.

  tracer calibrate --endpoint http://127.0.0.1:8000/v1
  tracer calibrate --gpu sim:H100-SXM --endpoint sim --mode active`
}

// Run observes the boards' sensors, prints what they are like and keeps it for collect.
func (c *calibrateCommand) Run(t *terminal, l *layers) error {
	if c.Mode == calibrateActive && c.Endpoint == "" {
		return usage("--mode active without --endpoint: averaging windows are measured under a load that tracer makes; name a server, or sim")
	}
	if err := onlyHere("calibrate", c.GPU); err != nil {
		return err
	}
	if err := (&spooled{}).locate(&c.Out); err != nil { // collect looks for what is kept in the spool
		return err
	}
	// Everything but the endpoint is said as to collect, which knows how to connect.
	as := &collect{target: target{
		Out: c.Out, Endpoint: c.Endpoint, Model: c.Model, Server: c.Server, GPU: c.GPU, Silence: c.Silence, APIKeyFile: c.APIKeyFile, RunID: newRunID(), tlsFlags: c.tlsFlags,
	}, Concurrency: 1}
	if c.Endpoint != "" || c.Out == "" {
		if err := as.checkSimulation(); err != nil {
			return err
		}
	}
	again := c.warn(t)
	defer again()
	tr := &trace{collect: as, terminal: t, layers: l}
	var err error
	if c.Server != "" {
		if tr.profile, err = nebula.ProfileByName(c.Server); err != nil {
			return usage("--server: %w", err)
		}
	}
	if tr.boards, err = openBoards(c.GPU, c.DriverTimeout); err != nil {
		return err
	}
	defer tr.boards.close()
	tr.boards.tell(t)
	ctx := context.Background()
	if c.Endpoint != "" {
		closeServer, err := tr.connect(ctx)
		if err != nil {
			return err
		}
		defer closeServer()
	} else {
		fmt.Fprintln(t.err, "no --endpoint: tracer makes no load; sensors of a board that idles may show too few changes")
	}
	found, err := tr.boards.calibrate(ctx, tr.client, c.Mode)
	if errors.Is(err, sampler.ErrHung) {
		return hung(err)
	}
	if err != nil {
		return environment(err)
	}
	tr.boards.calibrations = found
	if err := tr.boards.keep(c.Out, c.Mode, found); err != nil {
		return unwritable(c.Out, err)
	}
	return c.report(t.out, tr.boards.facts())
}

func (c *calibrateCommand) report(out io.Writer, facts []schema.Board) error {
	if c.JSON {
		type board struct {
			GPU         string             `json:"gpu_name"`
			UUID        string             `json:"gpu_uuid"`
			Simulated   bool               `json:"simulated"`
			Period      time.Duration      `json:"sensor_period_ns"`
			Window      time.Duration      `json:"sensor_window_ns"`
			Average     bool               `json:"sensor_is_average"`
			Provenance  string             `json:"sensor_provenance"`
			Calibration schema.Calibration `json:"calibration"`
		}
		var all []board
		for _, b := range facts {
			all = append(all, board{b.Name, b.UUID, b.Simulated, b.Power.Period, b.Power.Window, b.Power.Average, b.Power.Provenance, b.Calibration})
		}
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}
	for _, b := range facts {
		if err := printCalibration(out, b); err != nil {
			return err
		}
	}
	plan, err := sampler.PlanFor(facts, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\ncollect will read power every %v; kept in %s\n", plan.Power, c.Out)
	return err
}

// printCalibration is one board's table.
func printCalibration(out io.Writer, b schema.Board) error {
	fmt.Fprintf(out, "board %d %s %s, driver %s; load: %s\n\n", b.Index, b.Name, b.UUID, b.DriverVersion, b.Calibration.Load)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "sensor\tperiod\tR\tchanges\treads\tkind\twindow\tfrom\tcall p50\tp99\t")
	average, exists := sampler.AveragePower(b.Architecture, b.DriverVersion)
	if !exists {
		average.Provenance = sampler.ProvenanceUnknown
	}
	for _, f := range []struct {
		field  sampler.Field
		found  schema.FieldCalibration
		sensor schema.Sensor
	}{
		{sampler.FieldPowerInstant, b.Calibration.PowerInstant, b.Power},
		{sampler.FieldPowerAverage, b.Calibration.PowerAverage, sampler.Calibrated(average, b.Calibration.PowerAverage)},
		{sampler.FieldEnergy, b.Calibration.Energy, schema.Sensor{}},
		{sampler.FieldUtilization, b.Calibration.Utilization, schema.Sensor{}},
	} {
		if f.found.Reads == 0 {
			fmt.Fprintf(w, "%v\tno answer\t\t\t\t\t\t\t\t\t\n", f.field)
			continue
		}
		period, confidence := "not found", "–"
		if f.found.Period > 0 {
			period, confidence = milliseconds(f.found.Period), fmt.Sprintf("%.3f", f.found.Confidence)
		}
		kind, over, from := "–", "–", "–"
		if f.sensor.Provenance != "" {
			kind, over, from = kindOf(f.sensor), window(f.sensor), f.sensor.Provenance
		}
		fmt.Fprintf(w, "%v\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t\n", f.field, period, confidence, f.found.Changes, f.found.Reads, kind, over, from,
			microseconds(f.found.CallP50), microseconds(f.found.CallP99))
	}
	return w.Flush()
}

func kindOf(s schema.Sensor) string {
	switch {
	case s.Average:
		return "average"
	case s.Window == 0:
		return "unknown"
	}
	return "instant"
}

func microseconds(d time.Duration) string { return fmt.Sprintf("%.3g µs", float64(d)/1e3) }
