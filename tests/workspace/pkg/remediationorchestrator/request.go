// Package remediationorchestrator takes a remediation from a signal to its end:
// processing, analysis, a person's approval where that is needed, execution. It
// does none of that itself; it knows what comes next, what takes too long, what
// may be tried again, and leaves a trail from which a request can be restored.
package remediationorchestrator

import (
	"fmt"
	"slices"
	"time"
)

// Phase of a request.
type Phase string

const (
	Pending          Phase = "Pending"
	Processing       Phase = "Processing"
	Analyzing        Phase = "Analyzing"
	AwaitingApproval Phase = "AwaitingApproval"
	Executing        Phase = "Executing"
	Completed        Phase = "Completed"
	Failed           Phase = "Failed"
	TimedOut         Phase = "TimedOut"
)

var next = map[Phase][]Phase{
	"":               {Pending},
	Pending:          {Processing, Failed, TimedOut},
	Processing:       {Analyzing, Failed, TimedOut},
	Analyzing:        {AwaitingApproval, Executing, Failed, TimedOut},
	AwaitingApproval: {Executing, Failed, TimedOut},
	Executing:        {Completed, Analyzing, Failed, TimedOut}, // Analyzing: another workflow is looked for
}

// Ended says whether nothing comes after p.
func (p Phase) Ended() bool { return len(next[p]) == 0 }

func (p Phase) leadsTo(to Phase) bool { return slices.Contains(next[p], to) }

// Proposal is what an analysis comes to.
type Proposal struct {
	Workflow   string  `json:"workflow"`
	Confidence float64 `json:"confidence"` // 0 to 1
}

// Request is one remediation on its way.
type Request struct {
	ID       string
	Target   string
	Phase    Phase
	Created  time.Time
	Entered  time.Time // when Phase began
	Proposal Proposal
	Reason   string // why Phase was entered, where that needs a reason

	Attempts   int       // failed ones, of Phase
	NotBefore  time.Time // of the next attempt
	Recoveries int       // how often a workflow failed and another was looked for
	LastError  string    // of the workflow that failed; analyses read it
}

func (r *Request) enter(to Phase, at time.Time, reason string) error {
	if !r.Phase.leadsTo(to) {
		return fmt.Errorf("remediation %s: no way from %q to %q", r.ID, r.Phase, to)
	}
	if r.Phase == Executing && to == Analyzing {
		r.Recoveries++
		r.LastError = reason
	}
	r.Phase, r.Entered, r.Reason = to, at, reason
	r.Attempts, r.NotBefore = 0, time.Time{}
	return nil
}
