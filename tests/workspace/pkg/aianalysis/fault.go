package aianalysis

import (
	"context"
	"maps"

	"github.com/kubernaut/workspace/pkg/audit"
)

// Faults are the names that Break knows, and the values of AIANALYSIS_FAULT.
var Faults = []string{"approve-everything", "forget-attempts", "give-up-early", "silent-failure"}

// Break breaks one behaviour on purpose, so that a suite can be seen to fail.
// Empty breaks nothing.
func (c *Controller) Break(fault string) {
	switch fault {
	case "approve-everything":
		c.Approval = maps.Clone(c.Approval)
		for environment := range c.Approval {
			c.Approval[environment] = 0
		}
		c.Holmes = neverInDoubt{c.Holmes}
	case "forget-attempts":
		c.Holmes = forgetAttempts{c.Holmes}
	case "give-up-early":
		c.Retry.MaxTries = 1
	case "silent-failure":
		c.Audit = silentFailure{c.Audit}
	}
}

type neverInDoubt struct{ Investigator }

func (n neverInDoubt) Investigate(ctx context.Context, incident Incident, attempts []Attempt) (Finding, error) {
	finding, err := n.Investigator.Investigate(ctx, incident, attempts)
	finding.NeedsHumanReview = false
	return finding, err
}

type forgetAttempts struct{ Investigator }

// Investigate tells of the last attempt alone.
func (f forgetAttempts) Investigate(ctx context.Context, incident Incident, attempts []Attempt) (Finding, error) {
	if len(attempts) > 1 {
		attempts = attempts[len(attempts)-1:]
	}
	return f.Investigator.Investigate(ctx, incident, attempts)
}

type silentFailure struct{ Recorder }

func (s silentFailure) Record(e audit.Event) error {
	if e.Type == "aianalysis.analysis.failed" {
		return nil
	}
	return s.Recorder.Record(e)
}
