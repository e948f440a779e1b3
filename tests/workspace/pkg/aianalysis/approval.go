package aianalysis

import "fmt"

// Verdict is what happens to a recommendation.
type Verdict string

const (
	Execute  Verdict = "Execute"  // at once
	Approve  Verdict = "Approve"  // when a human has said yes
	Escalate Verdict = "Escalate" // there is nothing to say yes to
)

// Decision is a verdict and why.
type Decision struct {
	Verdict Verdict
	Reason  string
}

// ApprovalPolicy is the least confidence, by environment, at which a workflow is
// run without asking. In an environment that it does not know it always asks.
type ApprovalPolicy map[string]float64

// DefaultApproval asks the more the more there is to lose.
var DefaultApproval = ApprovalPolicy{"production": 0.9, "staging": 0.8, "development": 0.7}

// Decide holds a finding against the policy.
func (p ApprovalPolicy) Decide(environment string, f Finding) Decision {
	least, known := p[environment]
	switch {
	case f.Workflow == nil:
		return Decision{Escalate, f.ReviewReason}
	case f.NeedsHumanReview:
		return Decision{Approve, f.ReviewReason}
	case !known:
		return Decision{Approve, fmt.Sprintf("no policy for the environment %q", environment)}
	case f.Confidence < least:
		return Decision{Approve, fmt.Sprintf("confidence %.2f is less than %.2f, the least in %s", f.Confidence, least, environment)}
	}
	return Decision{Execute, fmt.Sprintf("confidence %.2f", f.Confidence)}
}
