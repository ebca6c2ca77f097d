package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/sourcegraph/conc"
)

// sameStop is how long after a signal another belongs to it: timeout(1) signals a command, and then its group.
const sameStop = 2 * time.Millisecond

// repeated waits for a second signal, or for the end. It says which came.
func repeated(signals <-chan os.Signal, done <-chan struct{}) bool {
	first := time.Now()
	for {
		select {
		case <-signals:
			if time.Since(first) > sameStop {
				return true
			}
		case <-done:
			return false
		}
	}
}

// onSignal makes the first signal stop the run, which is then committed if it has begun, and the second abort it.
func (t *trace) onSignal(stop context.CancelCauseFunc) (release func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	var owner conc.WaitGroup
	done := make(chan struct{})
	owner.Go(func() {
		select {
		case <-signals:
		case <-done:
			return
		}
		begun := t.begun.Load()
		if begun {
			fmt.Fprintln(t.err, "\ntracer: stopping; what was measured is being committed (again to abort)")
		} else {
			fmt.Fprintln(t.err, "\ntracer: stopping before the run begins (again to abort)")
		}
		stop(errInterrupted)
		if !repeated(signals, done) {
			return
		}
		if !t.publishing.TryLock() {
			fmt.Fprintln(t.err, "tracer: too late to abort; the commit is under way")
			<-done
			return
		}
		if begun {
			fmt.Fprintf(t.err, "tracer: aborted; nothing is published yet: tracer recover --out %s %s publishes what was measured\n", t.named(t.Out), t.RunID)
		}
		os.Exit(exitFailure)
	})
	return sync.OnceFunc(func() {
		signal.Stop(signals)
		close(done)
		owner.Wait()
	})
}

// onSignal makes the first signal stop the run under way, and the campaign with it, and the second end both at once.
func (r *campaigning) onSignal(stop context.CancelCauseFunc) (release func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	var owner conc.WaitGroup
	owner.Go(func() {
		select {
		case <-signals:
		case <-done:
			return
		}
		r.table.aside("tracer: stopping; what the run under way has measured is being committed (again to abort)")
		stop(errInterrupted)
		if !repeated(signals, done) {
			return
		}
		if p := r.serving.Load(); p != nil {
			_ = p.signal(syscall.SIGKILL) // it may have ended
		}
		if p := r.running.Load(); p != nil {
			_ = p.signal(syscall.SIGTERM) // its own second: it aborts, unless its commit is under way
		}
		r.table.aside("tracer: aborted; tracer campaign %s publishes what the run under way had measured, and goes on", r.path)
		os.Exit(exitFailure)
	})
	return func() {
		signal.Stop(signals)
		close(done)
		owner.Wait()
	}
}
