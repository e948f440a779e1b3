// Package aianalysis asks HolmesGPT-API for the cause of an incident and decides
// whether what it recommends may be run without asking a human.
package aianalysis

import (
	"fmt"
	"slices"
)

// Phase of an analysis.
type Phase string

const (
	Pending       Phase = "Pending"
	Investigating Phase = "Investigating" // HolmesGPT-API is asked, perhaps several times
	Analyzing     Phase = "Analyzing"     // its answer is held against the policy
	Completed     Phase = "Completed"
	Failed        Phase = "Failed"
)

var transitions = map[Phase][]Phase{
	Pending:       {Investigating},
	Investigating: {Analyzing, Failed},
	Analyzing:     {Completed},
}

// Signal is what was noticed.
type Signal struct {
	Type     string `json:"type"`
	Severity string `json:"severity"`
	Message  string `json:"message"`
}

// Resource is what it was noticed at.
type Resource struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// Context is what is known besides.
type Context struct {
	Environment      string `json:"environment"`
	RecentDeployment string `json:"recent_deployment"`
}

// Incident is what an analysis is about; its recoveries share it.
type Incident struct {
	ID            string   `json:"incident_id"`
	CorrelationID string   `json:"correlation_id"`
	Signal        Signal   `json:"signal"`
	Resource      Resource `json:"resource"`
	Context       Context  `json:"context"`
}

// Attempt is a workflow that was run and did not cure the incident.
type Attempt struct {
	WorkflowID string `json:"workflow_id"`
	Error      string `json:"error"`
}

// Analysis is one incident on its way through the phases. Attempts are none in
// the first analysis of an incident.
type Analysis struct {
	Incident Incident
	Attempts []Attempt
	Phase    Phase
	History  []Phase
	Tries    int // requests to HolmesGPT-API
	Finding  Finding
	Decision Decision
}

// New is the first analysis of an incident.
func New(incident Incident) *Analysis {
	return &Analysis{Incident: incident, Phase: Pending, History: []Phase{Pending}}
}

// Number of the analysis among those of its incident, from 1.
func (a *Analysis) Number() int { return len(a.Attempts) + 1 }

// To moves the analysis on. A move that the state machine does not have is an
// error and changes nothing.
func (a *Analysis) To(next Phase) error {
	if !slices.Contains(transitions[a.Phase], next) {
		return fmt.Errorf("analysis of %s: no way from %s to %s", a.Incident.ID, a.Phase, next)
	}
	a.Phase = next
	a.History = append(a.History, next)
	return nil
}

// Recover is the analysis that follows when the recommended workflow was run and
// failed with cause. An incident has at most limit analyses.
func (a *Analysis) Recover(cause string, limit int) (*Analysis, error) {
	switch {
	case a.Phase != Completed || a.Finding.Workflow == nil:
		return nil, fmt.Errorf("analysis of %s: no workflow that could have failed", a.Incident.ID)
	case a.Number() >= limit:
		return nil, fmt.Errorf("analysis of %s: %w: %d", a.Incident.ID, ErrTooManyAttempts, limit)
	}
	next := New(a.Incident)
	next.Attempts = append(slices.Clone(a.Attempts), Attempt{WorkflowID: a.Finding.Workflow.ID, Error: cause})
	return next, nil
}
