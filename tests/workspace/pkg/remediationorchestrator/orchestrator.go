package remediationorchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kubernaut/workspace/pkg/audit"
)

var (
	// ErrPermanent marks a failure that trying again does not cure. Stages wrap it.
	ErrPermanent = errors.New("permanent failure")
	// ErrNotAsked is returned for a decision about a request that waits for none.
	ErrNotAsked = errors.New("no decision is waited for")
)

// Stages are the services that do the work. An error is tried again unless it
// is permanent.
type Stages interface {
	Process(ctx context.Context, r Request) error
	Analyze(ctx context.Context, r Request) (Proposal, error)
	Execute(ctx context.Context, r Request) error
}

// Policy says when a remediation is too slow, too doubtful or hopeless.
type Policy struct {
	MinConfidence float64 // below it a person is asked
	MaxAttempts   int     // of one phase
	MaxRecoveries int     // other workflows after one that failed
	Backoff       time.Duration
	Whole         time.Duration           // from creation to end
	Phases        map[Phase]time.Duration // one that is missing has only the limit of the whole
}

// Recorder is what an orchestrator needs of an audit client.
type Recorder interface {
	Record(e audit.Event) error
}

// Orchestrator moves requests on.
type Orchestrator struct {
	Stages Stages
	Policy Policy
	Audit  Recorder
	Now    func() time.Time
}

// Create begins a remediation.
func (o *Orchestrator) Create(id, target string) (*Request, error) {
	r := &Request{ID: id, Target: target, Created: o.Now()}
	return r, o.move(r, Pending, "", "")
}

// Step does what is due for r now: a move, an attempt or nothing. It is called
// again and again until r has ended. A failed attempt is no error of Step's.
func (o *Orchestrator) Step(ctx context.Context, r *Request) error {
	if r.Phase.Ended() {
		return nil
	}
	if reason := o.overdue(r); reason != "" {
		return o.giveUp(r, TimedOut, reason)
	}
	if r.Phase == AwaitingApproval || o.Now().Before(r.NotBefore) {
		return nil
	}
	to, reason, err := o.attempt(ctx, r)
	switch {
	case err == nil:
		return o.move(r, to, reason, "")
	case ctx.Err() != nil: // whoever calls has gone; that is not the stage's failure
		return ctx.Err()
	}
	return o.failed(r, err)
}

// Decide is a person's answer to a request that awaits approval. One that comes
// too late times the request out.
func (o *Orchestrator) Decide(r *Request, by string, approved bool) error {
	if r.Phase != AwaitingApproval {
		return fmt.Errorf("remediation %s is %s: %w", r.ID, r.Phase, ErrNotAsked)
	}
	if reason := o.overdue(r); reason != "" {
		return errors.Join(fmt.Errorf("%s: %w", reason, ErrNotAsked), o.giveUp(r, TimedOut, reason))
	}
	if !approved {
		return o.move(r, Failed, "rejected", by)
	}
	return o.move(r, Executing, "approved", by)
}

func (o *Orchestrator) overdue(r *Request) string {
	now := o.Now()
	if limit, ok := o.Policy.Phases[r.Phase]; ok && now.Sub(r.Entered) > limit {
		return fmt.Sprintf("%s took longer than %v", r.Phase, limit)
	}
	if now.Sub(r.Created) > o.Policy.Whole {
		return fmt.Sprintf("the remediation took longer than %v", o.Policy.Whole)
	}
	return ""
}

func (o *Orchestrator) attempt(ctx context.Context, r *Request) (to Phase, reason string, err error) {
	switch r.Phase {
	case Pending:
		return Processing, "", nil
	case Processing:
		return Analyzing, "", o.Stages.Process(ctx, *r)
	case Executing:
		return Completed, "", o.Stages.Execute(ctx, *r)
	}
	r.Proposal, err = o.Stages.Analyze(ctx, *r)
	if r.Proposal.Confidence < o.Policy.MinConfidence {
		reason = fmt.Sprintf("confidence %.2f is below %.2f", r.Proposal.Confidence, o.Policy.MinConfidence)
		return AwaitingApproval, reason, err
	}
	return Executing, "", err
}

func (o *Orchestrator) failed(r *Request, cause error) error {
	r.Attempts++
	switch {
	case !errors.Is(cause, ErrPermanent) && r.Attempts < o.Policy.MaxAttempts:
		r.NotBefore = o.Now().Add(o.Policy.Backoff << (r.Attempts - 1))
		o.record(r, attemptRetried, entry{Reason: cause.Error(), Attempt: r.Attempts})
		return nil
	case r.Phase == Executing && r.Recoveries < o.Policy.MaxRecoveries:
		return o.move(r, Analyzing, cause.Error(), "")
	}
	return o.giveUp(r, Failed, cause.Error())
}

// giveUp ends r and hands it to a person.
func (o *Orchestrator) giveUp(r *Request, to Phase, reason string) error {
	if err := o.move(r, to, reason, ""); err != nil {
		return err
	}
	o.record(r, escalated, entry{Reason: reason})
	return nil
}

func (o *Orchestrator) move(r *Request, to Phase, reason, by string) error {
	from := r.Phase
	if err := r.enter(to, o.Now(), reason); err != nil {
		return err
	}
	o.record(r, entered(to), entry{From: from, Reason: reason, By: by})
	return nil
}
