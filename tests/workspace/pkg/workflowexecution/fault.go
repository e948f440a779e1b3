package workflowexecution

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Faults are the names that Break knows, and the values of
// WORKFLOWEXECUTION_FAULT.
var Faults = []string{"forget-lock", "forget-cooldown", "random-ids", "lose-failures"}

// Break breaks one behaviour on purpose, so that a suite can be seen to fail.
// Empty breaks nothing.
func (x *Executor) Break(fault string) {
	switch fault {
	case "forget-lock":
		x.Locks = noLocks{}
	case "forget-cooldown":
		x.Cooldown.Base = 0
	case "random-ids":
		x.Events = randomIDs
	case "lose-failures":
		x.Audit = loseFailures{x.Audit}
	}
}

type noLocks struct{}

func (noLocks) Acquire(context.Context, string, string, time.Duration) (string, error) {
	return "", nil
}
func (noLocks) Renew(context.Context, string, string, time.Duration) error { return nil }
func (noLocks) Release(context.Context, string, string) error              { return nil }

func randomIDs(e Execution) []Event {
	events := EventsOf(e)
	for i := range events {
		events[i].ID = uuid.NewString()
	}
	return events
}

type loseFailures struct{ Recorder }

func (l loseFailures) Record(e Event) error {
	if e.Outcome == "failure" {
		return nil
	}
	return l.Recorder.Record(e)
}
