package remediationorchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kubernaut/workspace/pkg/audit"
)

type recorder struct{ events []audit.Event }

func (r *recorder) Record(e audit.Event) error {
	e.Version = audit.Version
	r.events = append(r.events, e)
	return nil
}

func (r *recorder) types() []string {
	types := make([]string, len(r.events))
	for i, e := range r.events {
		types[i] = e.Type
	}
	return types
}

// failing stages have one error for every attempt.
type failing struct{ process, analyze, execute error }

func (f failing) Process(context.Context, Request) error { return f.process }
func (f failing) Execute(context.Context, Request) error { return f.execute }
func (f failing) Analyze(context.Context, Request) (Proposal, error) {
	return Proposal{Workflow: "restart", Confidence: 0.8}, f.analyze
}

var start = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func newOrchestrator(stages Stages) (*Orchestrator, *recorder, *time.Time) {
	now, trail := start, &recorder{}
	return &Orchestrator{
		Stages: stages,
		Policy: Policy{MinConfidence: 0.7, MaxAttempts: 2, MaxRecoveries: 1, Backoff: time.Second, Whole: time.Hour},
		Audit:  trail,
		Now:    func() time.Time { return now },
	}, trail, &now
}

// steps takes n steps, with time enough between them for every backoff.
func steps(t *testing.T, o *Orchestrator, r *Request, now *time.Time, n int) {
	t.Helper()
	for range n {
		if err := o.Step(context.Background(), r); err != nil {
			t.Fatal(err)
		}
		*now = now.Add(time.Minute)
	}
}

func create(t *testing.T, o *Orchestrator) *Request {
	t.Helper()
	r, err := o.Create("r-1", "prod/deployment/web")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNothingFollowsAnEnd(t *testing.T) {
	for _, end := range []Phase{Completed, Failed, TimedOut} {
		for to := range next {
			r := &Request{Phase: end}
			if err := r.enter(to, start, ""); err == nil || r.Phase != end {
				t.Errorf("from %s to %q: %v", end, to, err)
			}
		}
	}
}

func TestEveryPhaseOnTheWayCanFailAndTimeOut(t *testing.T) {
	for from := range next {
		if from != "" && (!from.leadsTo(Failed) || !from.leadsTo(TimedOut)) {
			t.Errorf("%s: %v", from, next[from])
		}
	}
}

func TestFourStepsLeadToTheEnd(t *testing.T) {
	o, trail, now := newOrchestrator(failing{})
	r := create(t, o)
	steps(t, o, r, now, 4)
	want := []string{
		"orchestration.phase.pending", "orchestration.phase.processing", "orchestration.phase.analyzing",
		"orchestration.phase.executing", "orchestration.phase.completed",
	}
	if got := trail.types(); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestEveryEventIsValid(t *testing.T) {
	o, trail, now := newOrchestrator(failing{execute: errors.New("no quota")})
	steps(t, o, create(t, o), now, 9)
	for _, e := range trail.events {
		if errs := e.Validate(); len(errs) > 0 {
			t.Errorf("%s: %v", e.Type, errs)
		}
	}
	if last := trail.types()[len(trail.events)-1]; last != escalated {
		t.Errorf("the last event is %s", last)
	}
}

func TestBackoffDoubles(t *testing.T) {
	o, _, now := newOrchestrator(failing{process: errors.New("busy")})
	o.Policy.MaxAttempts = 4
	r := create(t, o)
	steps(t, o, r, now, 1)
	for attempt, want := range []time.Duration{1, 2, 4} {
		if err := o.Step(context.Background(), r); err != nil {
			t.Fatal(err)
		}
		if got := r.NotBefore.Sub(*now); got != want*time.Second {
			t.Errorf("attempt %d: %v", attempt+1, got)
		}
		*now = r.NotBefore
	}
}

func TestPermanentFailureOfAWorkflowAllowsAnother(t *testing.T) {
	o, _, now := newOrchestrator(failing{execute: fmt.Errorf("%w: immutable field", ErrPermanent)})
	r := create(t, o)
	steps(t, o, r, now, 4)
	if r.Phase != Analyzing || r.Recoveries != 1 || r.LastError != "permanent failure: immutable field" {
		t.Errorf("%+v", r)
	}
}

func TestRestoredRequestIsTheOneThatWasRecorded(t *testing.T) {
	for n := range 9 {
		o, trail, now := newOrchestrator(failing{execute: errors.New("no quota")})
		r := create(t, o)
		steps(t, o, r, now, n)
		got, err := Restore(trail.events)
		if err != nil {
			t.Fatalf("after %d steps: %v", n, err)
		}
		got.NotBefore = r.NotBefore // a restart may try again at once
		if r.Phase.Ended() {
			got.Attempts = r.Attempts
		}
		if *got != *r {
			t.Errorf("after %d steps: got %+v, want %+v", n, *got, *r)
		}
	}
}

func TestRestoreRefusesATrailWithAGap(t *testing.T) {
	o, trail, now := newOrchestrator(failing{})
	steps(t, o, create(t, o), now, 4)
	for i := range len(trail.events) - 1 {
		if _, err := Restore(slices.Delete(slices.Clone(trail.events), i, i+1)); err == nil {
			t.Errorf("without %s", trail.events[i].Type)
		}
	}
}

func TestRestoreRefusesEventsOfOthers(t *testing.T) {
	o, trail, now := newOrchestrator(failing{})
	steps(t, o, create(t, o), now, 2)
	trail.events[1].CorrelationID = "r-2"
	if _, err := Restore(trail.events); err == nil {
		t.Error("no error")
	}
}

func TestBreakKnowsEveryFault(t *testing.T) {
	for _, name := range Faults {
		o, _, _ := newOrchestrator(failing{})
		o.Policy.Phases = map[Phase]time.Duration{Executing: time.Minute}
		o.Break(name)
		_, broken := o.Audit.(loseEnd)
		if o.Policy.Phases != nil && o.Policy.MinConfidence != 0 && !broken {
			t.Errorf("%s breaks nothing", name)
		}
	}
}
