package workflowexecution

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var at = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func TestNameIsOneOfAKubernetesObject(t *testing.T) {
	name, err := Name("prod/deployment/" + strings.Repeat("very-long-", 25))
	if err != nil || len(name) > 63 || !regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])$`).MatchString(name) {
		t.Errorf("%q, %v", name, err)
	}
}

func TestNameDependsOnTheTargetAlone(t *testing.T) {
	base, _ := Name("prod/deployment/web")
	for target, same := range map[string]bool{
		"prod/Deployment/web": true, " prod/deployment/web\n": true, "prod/deployment/Web": false,
		"prod/deployment/web2": false, "staging/deployment/web": false, "deployment/web": false, "prod/statefulset/web": false,
	} {
		if name, err := Name(target); err != nil || (name == base) != same {
			t.Errorf("%q: %q, %v", target, name, err)
		}
	}
}

func TestNameRefusesWhatIsNoTarget(t *testing.T) {
	for _, target := range []string{"", "web", "a/b/c/d", "prod//web", "prod/deployment/", "prod/deployment/a b"} {
		if name, err := Name(target); err == nil {
			t.Errorf("%q: %q", target, name)
		}
	}
}

func TestNothingFollowsAnEnd(t *testing.T) {
	for _, end := range []Phase{Completed, Failed, Skipped} {
		for _, to := range []Phase{Pending, Running, Completed, Failed, Skipped} {
			e := Execution{Phase: end}
			if err := e.to(to, at, "", ""); err == nil || e.Phase != end || !end.Ended() {
				t.Errorf("from %s to %s: %v", end, to, err)
			}
		}
	}
}

func TestWhatRunsCannotBeSkipped(t *testing.T) {
	e := Execution{Phase: Running}
	if err := e.to(Skipped, at, ResourceBusy, ""); err == nil {
		t.Error("no error")
	}
}

func TestWaitDoublesWithEachFailureUpToItsLimit(t *testing.T) {
	c := Cooldown{Base: time.Minute, Max: 10 * time.Minute}
	for failures, want := range map[int64]time.Duration{0: 1, 1: 2, 2: 4, 3: 8, 4: 10, 1 << 40: 10} {
		if got := c.Wait(failures); got != want*time.Minute {
			t.Errorf("%d failures: %v", failures, got)
		}
	}
}

func TestMovesOfOneInstantKeepTheirOrder(t *testing.T) {
	e := Execution{}
	for _, to := range []Phase{Pending, Running, Completed} {
		if err := e.to(to, at, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	events := EventsOf(e)
	for i := range events[1:] {
		if !events[i].Timestamp.Before(events[i+1].Timestamp) {
			t.Errorf("%v, then %v", events[i].Timestamp, events[i+1].Timestamp)
		}
	}
}

func TestEventsAreValidAndAlwaysTheSame(t *testing.T) {
	e := Execution{Order: Order{ID: "o-1", CorrelationID: "r-1", Target: "prod/deployment/web", Workflow: "restart"}, Name: "wfe-1"}
	for _, to := range []Phase{Pending, Running, Failed} {
		if err := e.to(to, at, TaskFailed, "exit code 1"); err != nil {
			t.Fatal(err)
		}
	}
	first, second := EventsOf(e), EventsOf(e)
	if !slices.EqualFunc(first, second, func(a, b Event) bool { return a.ID == b.ID && a.Timestamp.Equal(b.Timestamp) }) {
		t.Errorf("%v, then %v", first, second)
	}
	ids := map[string]bool{}
	for _, event := range first {
		ids[event.ID] = true
		if errs := event.Validate(); len(errs) > 0 {
			t.Errorf("%s: %v", event.Type, errs)
		}
	}
	if len(ids) != 3 {
		t.Errorf("ids %v", ids)
	}
}

func TestCutLeavesNoHalfCharacters(t *testing.T) {
	for shift := range 4 {
		got := cut(strings.Repeat("x", shift) + strings.Repeat("容", MaxMessage))
		if !utf8.ValidString(got) || len(got) > MaxMessage || len(got) < MaxMessage-3 {
			t.Errorf("shift %d: %d bytes", shift, len(got))
		}
	}
}

func TestPanicOfAnEngineIsAFailure(t *testing.T) {
	x := Executor{Engine: engine(func(context.Context) error { panic("nil map") }), Locks: noLocks{}, Deadline: time.Minute, Renewal: time.Minute}
	if reason, err := x.outcome(context.Background(), &Execution{}); reason != TaskFailed || err == nil || err.Error() != "panic: nil map" {
		t.Errorf("%s: %v", reason, err)
	}
}

func TestReasonTellsWhoEndedAnEngine(t *testing.T) {
	until := engine(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for want, test := range map[string]struct {
		ctx   context.Context
		locks Locks
	}{
		DeadlineExceeded: {context.Background(), noLocks{}},
		Cancelled:        {gone, noLocks{}},
		LockLost:         {context.Background(), stolen{}},
	} {
		x := Executor{Engine: until, Locks: test.locks, Deadline: time.Minute, Renewal: time.Millisecond}
		if want == DeadlineExceeded {
			x.Deadline = time.Millisecond
		}
		if reason, err := x.outcome(test.ctx, &Execution{}); reason != want || err == nil {
			t.Errorf("want %s, got %s: %v", want, reason, err)
		}
	}
}

type engine func(context.Context) error

func (e engine) Run(ctx context.Context, _ Order) error { return e(ctx) }

type stolen struct{ noLocks }

func (stolen) Renew(context.Context, string, string, time.Duration) error {
	return errors.Join(ErrLockLost)
}
